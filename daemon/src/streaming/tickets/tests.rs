use linkspan_pod_sandbox::StreamSet;
use linkspan_pod_sandbox::model::{ContainerId, SandboxId};
use proptest::prelude::*;

use super::*;

/// Tells one ticket from another by its port.
fn ticket(port: u16) -> Ticket {
    let sandbox = SandboxId::try_from(format!("{:064x}", port / 10)).unwrap();
    Ticket::PortForward { sandbox, ports: vec![port] }
}

fn token(number: u16) -> Token {
    let mut random = [0; TOKEN_BYTES];
    random[..2].copy_from_slice(&number.to_be_bytes());
    Token::new(random)
}

fn port(ticket: Option<Ticket>) -> Option<u16> {
    match ticket? {
        Ticket::PortForward { ports, .. } => ports.first().copied(),
        Ticket::Exec { .. } | Ticket::Attach { .. } => None,
    }
}

#[test]
fn a_token_is_good_for_one_time() {
    let (mut tickets, now) = (Tickets::default(), Instant::now());
    tickets.insert(token(1), ticket(1), now).unwrap();
    assert_eq!(port(tickets.take(&token(2), now)), None);
    assert_eq!(port(tickets.take(&token(1), now)), Some(1));
    assert_eq!(port(tickets.take(&token(1), now)), None);
}

#[test]
fn a_token_expires() {
    let (mut tickets, now) = (Tickets::default(), Instant::now());
    for number in [1, 2] {
        tickets.insert(token(number), ticket(number), now).unwrap();
    }
    let almost = now + LIFETIME - Duration::from_nanos(1);
    assert_eq!(port(tickets.take(&token(1), almost)), Some(1));
    assert_eq!(port(tickets.take(&token(2), now + LIFETIME)), None);
}

#[test]
fn there_is_room_again_when_one_was_opened_or_all_have_expired() {
    let (mut tickets, now) = (Tickets::default(), Instant::now());
    let numbers = || (0..u16::MAX).take(MOST);
    for number in numbers() {
        tickets.insert(token(number), ticket(number), now).unwrap();
    }
    let next = u16::MAX;
    assert_eq!(
        tickets.insert(token(next), ticket(next), now),
        Err(TooMany(format!("{MOST} streaming URLs")))
    );
    assert_eq!(port(tickets.take(&token(7), now)), Some(7));
    tickets.insert(token(next), ticket(next), now).unwrap();
    for number in numbers() {
        tickets.insert(token(number), ticket(number), now + LIFETIME).unwrap();
    }
}

#[test]
fn a_token_can_stand_in_a_path() {
    let text = Token::new([0xff; TOKEN_BYTES]);
    assert_eq!(text.as_str().len(), 43);
    assert!(text.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
}

/// What clients do, in any order.
#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    Take(u16),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..20_u16).prop_map(Step::Insert),
        (0..20_u16).prop_map(Step::Take),
        (0..40_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn only_what_was_promised_is_given_and_only_once(steps in proptest::collection::vec(step(), 0..200)) {
        let (mut tickets, mut now) = (Tickets::default(), Instant::now());
        let mut promised = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(at) => {
                    // A port of its own for each ticket.
                    let own = u16::try_from(number).unwrap() + 1;
                    tickets.insert(token(at), ticket(own), now).unwrap();
                    promised.insert(at, (own, now));
                }
                Step::Take(at) => {
                    let expected = promised.remove(&at).filter(|(_, since)| now - *since < LIFETIME);
                    prop_assert_eq!(port(tickets.take(&token(at), now)), expected.map(|(own, _)| own));
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
        }
    }
}

#[test]
fn urls_of_one_container_leave_room_for_others() {
    let (mut tickets, now) = (Tickets::default(), Instant::now());
    let of = |letter: &str| exec(letter, "ls");
    for number in (0..).take(MOST_OF_ONE) {
        tickets.insert(token(number), of("a"), now).unwrap();
    }
    let refused = tickets.insert(token(1000), of("a"), now).unwrap_err().to_string();
    assert!(
        refused.starts_with(&format!("64 streaming URLs of container {} were", "a".repeat(64))),
        "{refused}"
    );
    tickets.insert(token(1001), of("b"), now).unwrap();
}

#[test]
fn commands_that_wait_take_so_much_memory_and_no_more() {
    let (mut tickets, now) = (Tickets::default(), Instant::now());
    let long = "x".repeat(1 << 20);
    let fit = (0..100).take_while(|number| {
        let letter = if *number % 2 == 0 { "a" } else { "b" };
        tickets.insert(token(*number), exec(letter, &long), now).is_ok()
    });
    assert_eq!(fit.count(), 15);
    tickets.insert(token(1000), exec("c", "ls"), now).unwrap();
}

fn exec(letter: &str, word: &str) -> Ticket {
    let container = ContainerId::try_from(letter.repeat(64)).unwrap();
    let streams = StreamSet { stdin: false, stdout: true, stderr: true, tty: false };
    Ticket::Exec { container, command: vec![word.to_owned()], streams }
}
