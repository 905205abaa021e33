use super::*;

fn parse(args: &[&str]) -> Result<Args, String> {
    Args::parse(args.iter().map(OsString::from))
}

#[test]
fn options_are_read_in_both_spellings() {
    let args = parse(&[
        "--pod-dir",
        "/run/p",
        "--sandbox-id=s",
        "--cgroup-procs",
        "/a",
        "--cgroup-procs=/b",
        "--oom-score-adj=-5",
        "--max-log-line-bytes",
        "100",
    ]);
    let expected = Args {
        pod_dir: "/run/p".into(),
        sandbox_id: "s".into(),
        cgroup_procs: vec!["/a".into(), "/b".into()],
        oom_score_adj: Some(-5),
        max_log_line_bytes: 100,
    };
    assert_eq!(args, Ok(expected));
}

#[test]
fn what_is_no_option_is_refused_by_name() {
    assert_eq!(parse(&["--pod-dir", "/p", "--what", "1"]), Err("unknown option --what".to_owned()));
    assert!(parse(&[]).expect_err("no directory").contains("--pod-dir"));
    assert!(parse(&["--pod-dir"]).expect_err("no value").contains("needs a value"));
    assert_eq!(parse(&["--pod-dir=/p", "--max-log-line-bytes=0"]).map(|a| a.max_log_line_bytes), Ok(16384));
}
