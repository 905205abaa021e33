use super::*;

#[test]
fn sizes_are_short() {
    for (bytes, shown) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 1024 * 1024 + 300_000, "5.3 MiB"),
        (u64::MAX, "16777216.0 TiB"),
    ] {
        assert_eq!(size(bytes), shown);
    }
}

#[test]
fn the_bar_fills_up() {
    assert_eq!(bar(0, 10).chars().filter(|c| *c == '█').count(), 0);
    assert_eq!(bar(5, 10).chars().filter(|c| *c == '█').count(), 12);
    assert_eq!(bar(20, 10).chars().filter(|c| *c == '█').count(), 24);
    assert_eq!(bar(0, 0).chars().count(), 24);
}

#[test]
fn a_pull_says_how_far_it_is() {
    let progress = Progress {
        stage: Stage::Fetching.into(),
        layers_done: 1,
        layers_total: 3,
        bytes_done: 1024 * 1024,
        bytes_total: 2 * 1024 * 1024,
        ..Progress::default()
    };
    assert!(line("busybox", &progress).ends_with("1.0 MiB of 2.0 MiB, layer 1 of 3"));
    assert_eq!(plain("busybox", &progress), "busybox: layer 1 of 3");
}
