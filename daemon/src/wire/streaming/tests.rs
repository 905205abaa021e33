use super::*;

fn check(stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Result<StreamSet, String> {
    let of_exec = exec(&v1::ExecRequest { stdin, stdout, stderr, tty, ..Default::default() });
    let of_attach = attach(&v1::AttachRequest { stdin, stdout, stderr, tty, ..Default::default() });
    assert_eq!(of_exec, of_attach);
    of_exec.map_err(|bad| bad.to_string())
}

#[test]
fn streams_are_taken_over() {
    let expected = StreamSet { stdin: true, stdout: true, stderr: false, tty: true };
    assert_eq!(check(true, true, false, true), Ok(expected));
    assert!(check(false, false, true, false).is_ok());
}

#[test]
fn streams_that_make_no_sense_are_refused_by_name() {
    let one_output = "stderr: cannot be separate with `tty`: a terminal has one output";
    assert_eq!(check(true, true, true, true), Err(one_output.to_owned()));
    let none = "stdin: one of `stdin`, `stdout` and `stderr` must be set";
    assert_eq!(check(false, false, false, false), Err(none.to_owned()));
    assert_eq!(check(false, false, false, true), Err(none.to_owned()));
}

#[test]
fn a_terminal_is_attached_to_as_one() {
    let terminal = StreamSet { stdout: true, tty: true, ..StreamSet::default() };
    assert_eq!(same_tty(terminal, true), Ok(()));
    let bad = same_tty(terminal, false).unwrap_err().to_string();
    assert_eq!(bad, "tty: is true, and the container was created with false");
}

#[test]
fn ports_are_from_1_to_65535() {
    assert_eq!(ports(&[]), Ok(Vec::new()));
    assert_eq!(ports(&[1, 80, 65535]), Ok(vec![1, 80, 65535]));
    for bad in [0, -1, 65536, i32::MIN] {
        let text = ports(&[80, bad]).unwrap_err().to_string();
        assert_eq!(text, format!("port[1]: {bad} is not from 1 to 65535"));
    }
}
