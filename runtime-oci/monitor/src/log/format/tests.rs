use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_475_712_000_000_000_001;
const TIME: &str = "2016-10-06T00:00:00.000000001Z";

fn check(max: usize, chunks: &[(Stream, &str)], expected: &[&str]) {
    let mut formatter = Formatter::new(max);
    let mut out = Vec::new();
    for (stream, data) in chunks {
        formatter.feed(*stream, NOW, data.as_bytes(), &mut out);
    }
    formatter.finish(NOW, &mut out);
    let text = String::from_utf8(out).expect("text in, text out");
    let expected: String = expected.iter().map(|line| format!("{TIME} {line}\n")).collect();
    assert_eq!(text, expected);
}

#[test]
fn lines_are_full_and_empty_lines_are_lines() {
    check(16, &[(Stream::Stdout, "a\n\nb c\n")], &["stdout F a", "stdout F ", "stdout F b c"]);
}

#[test]
fn a_line_is_split_only_past_the_limit() {
    check(4, &[(Stream::Stdout, "abc\n")], &["stdout F abc"]);
    check(4, &[(Stream::Stdout, "abcd\n")], &["stdout F abcd"]);
    check(4, &[(Stream::Stdout, "abcde\n")], &["stdout P abcd", "stdout F e"]);
    check(4, &[(Stream::Stdout, "abcdefghi\n")], &["stdout P abcd", "stdout P efgh", "stdout F i"]);
    check(4, &[(Stream::Stdout, "abcd"), (Stream::Stdout, "\n")], &["stdout F abcd"]);
}

#[test]
fn streams_do_not_mix_within_a_line() {
    let chunks = [(Stream::Stdout, "out "), (Stream::Stderr, "err\n"), (Stream::Stdout, "more\n")];
    check(16, &chunks, &["stderr F err", "stdout F out more"]);
}

#[test]
fn output_without_a_newline_ends_partial() {
    check(
        16,
        &[(Stream::Stderr, "e"), (Stream::Stdout, "a\nb")],
        &["stdout F a", "stdout P b", "stderr P e"],
    );
}

#[test]
fn times_are_right_over_centuries() {
    for (ns, expected) in [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (951_782_400_999_999_999, "2000-02-29T00:00:00.999999999Z"),
        (1_798_761_599_000_000_000, "2026-12-31T23:59:59.000000000Z"),
        (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ] {
        assert_eq!(Rfc3339(ns).to_string(), expected);
    }
}

/// What a reader of the log makes of it: each stream's bytes again.
fn read_back(log: &[u8], max: usize) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("every line ends");
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        assert_eq!(fields.next(), Some(TIME.as_bytes()));
        let stream = match fields.next() {
            Some(b"stdout") => &mut streams[0],
            Some(b"stderr") => &mut streams[1],
            other => panic!("no stream: {other:?}"),
        };
        let tag = fields.next().expect("a tag");
        let content = fields.next().expect("content");
        assert!(content.len() <= max);
        stream.extend_from_slice(content);
        match tag {
            b"F" => stream.push(b'\n'),
            b"P" => {}
            other => panic!("no tag: {other:?}"),
        }
    }
    streams
}

proptest! {
    #[test]
    fn no_byte_is_lost_or_moved(
        max in 1_usize..40,
        chunks in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..100)),
            0..20,
        ),
    ) {
        let mut formatter = Formatter::new(max);
        let mut log = Vec::new();
        let mut wanted = [Vec::new(), Vec::new()];
        for (is_stderr, data) in &chunks {
            let stream = if *is_stderr { Stream::Stderr } else { Stream::Stdout };
            formatter.feed(stream, NOW, data, &mut log);
            wanted[usize::from(*is_stderr)].extend_from_slice(data);
        }
        formatter.finish(NOW, &mut log);
        prop_assert_eq!(read_back(&log, max), wanted);
    }
}
