use proptest::prelude::*;

use super::*;

#[test]
fn names_are_cleaned_or_refused() {
    let check = |raw: &str, expected: Option<&str>| {
        let name = Name::parse(raw.as_bytes()).ok().map(|n| String::from_utf8(n.0).unwrap());
        assert_eq!(name.as_deref(), expected, "{raw}");
    };
    check("./", Some(""));
    check("/", Some(""));
    check("./a//b/", Some("a/b"));
    check("/etc/passwd", Some("etc/passwd"));
    check("a/../b", Some("b"));
    check("..", None);
    check("a/../../b", None);
    check("a\0b", None);
    check(&"x".repeat(256), None);
    check(&"x/".repeat(3000), None);
}

#[test]
fn whiteouts_are_told_apart() {
    assert_eq!(Mark::of(b"wh.a").unwrap(), Mark::None);
    assert_eq!(Mark::of(b".wh.a").unwrap(), Mark::Whiteout(b"a"));
    assert_eq!(Mark::of(b".wh..wh..opq").unwrap(), Mark::Opaque);
    assert_eq!(Mark::of(b".wh..wh.plnk").unwrap(), Mark::Foreign);
    for hostile in [&b".wh."[..], b".wh..", b".wh..."] {
        assert!(Mark::of(hostile).is_err());
    }
}

proptest! {
    #[test]
    fn a_clean_name_never_leads_out(raw in proptest::collection::vec(prop_oneof![
        Just(b'/'), Just(b'.'), any::<u8>(), Just(b'a')], 0..64)) {
        if let Ok(name) = Name::parse(&raw) {
            prop_assert!(!name.as_bytes().starts_with(b"/"));
            prop_assert!(!name.as_bytes().contains(&0));
            for part in name.as_bytes().split(|&b| b == b'/').filter(|_| !name.as_bytes().is_empty()) {
                prop_assert!(!matches!(part, b"" | b"." | b".."));
            }
        }
    }
}
