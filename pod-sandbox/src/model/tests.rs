use super::{ContainerId, SandboxId, Signal};

#[test]
fn generated_ids_are_64_hex_digits_and_differ() {
    let (one, other) = (SandboxId::generate(), SandboxId::generate());
    assert_ne!(one, other);
    assert_eq!(SandboxId::try_from(one.to_string()), Ok(one));
}

#[test]
fn an_id_of_another_form_is_refused() {
    for text in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65)] {
        assert!(ContainerId::try_from(text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn signals_are_known_by_every_name_in_use() {
    let check = |text: &str, number: i32| {
        assert_eq!(text.parse::<Signal>().map(Signal::number).ok(), Some(number), "{text}");
    };
    check("SIGTERM", 15);
    check("term", 15);
    check("9", 9);
    check("SIGNAL_SIGRTMINPLUS3", 37);
    check("RTMIN+3", 37);
    check("SIGRTMAX-1", 63);
    check("SIGNAL_SIGRTMAXMINUS14", 50);
    check("SIGIOT", 6);
}

#[test]
fn what_is_no_signal_is_refused() {
    for text in ["", "0", "65", "-1", "SIG", "SIGFOO", "RTMIN+99", "RTMIN+-3", "RTMAX+1"] {
        assert!(text.parse::<Signal>().is_err(), "{text}");
    }
}

#[test]
fn every_signal_has_a_name_that_leads_back() {
    for number in (1..=31).chain(34..=64) {
        let signal: Signal = number.to_string().parse().expect("a number in range");
        assert_eq!(signal.cri_name().parse(), Ok(signal));
    }
}
