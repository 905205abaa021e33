use super::directives;

#[test]
fn a_bare_level_is_for_our_own_crates() {
    for (level, expected) in [
        ("debug", "warn,linkspan=debug"),
        ("INFO", "warn,linkspan=INFO"),
        ("info,linkspan_image=debug", "info,linkspan_image=debug"),
        ("off", "off"),
    ] {
        assert_eq!(directives(level), expected);
    }
}
