use super::*;

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length += 1;
    }
    let mut out = format!("{length} {key}=").into_bytes();
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

#[test]
fn binary_values_may_hold_newlines() {
    let value = b"\x01\0\0\x02\x0a\0\0\0\n\n";
    let data = record("SCHILY.xattr.security.capability", value);
    let pax = Pax::parse(&data).unwrap();
    assert_eq!(pax.xattrs, [(b"security.capability".to_vec(), value.to_vec())]);
}

#[test]
fn records_are_read_and_empty_ones_withdraw() {
    let mut data = record("path", b"a/b");
    data.extend(record("linkpath", b""));
    data.extend(record("size", b"99999999999"));
    let pax = Pax::parse(&data).unwrap();
    assert_eq!((pax.path, pax.link, pax.size), (Some(b"a/b".to_vec()), None, Some(99_999_999_999)));
}

#[test]
fn times_keep_their_fraction_also_before_1970() {
    let check = |text: &str, seconds, nanoseconds| {
        assert_eq!(time(text.as_bytes()).unwrap(), Time { seconds, nanoseconds }, "{text}");
    };
    check("1350244992", 1_350_244_992, 0);
    check("1350244992.5", 1_350_244_992, 500_000_000);
    check("1350244992.0239604229", 1_350_244_992, 23_960_422);
    check("-1.5", -2, 500_000_000);
    check("-7", -7, 0);
}

#[test]
fn damage_is_refused() {
    for data in [
        &b"5 a=b\n"[..],
        b"7 a=b\n",
        b"6 ab\n\n",
        b"0 a=b\n",
        b"999999999999999999999999 a=b\n",
        b"x a=b\n",
        b"10 size=x\n",
        b"11 mtime=-\n",
    ] {
        assert!(Pax::parse(data).is_err(), "{:?}", data.escape_ascii().to_string());
    }
}
