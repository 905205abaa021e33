use linkspan_pod_sandbox::model::SandboxId;

use super::*;

fn ticket(letter: char) -> Ticket {
    let sandbox = SandboxId::try_from(letter.to_string().repeat(64)).unwrap();
    Ticket::PortForward { sandbox, ports: Vec::new() }
}

#[test]
fn one_pod_leaves_room_for_the_others() {
    let room = Room::of(100, 100);
    let mut places: Vec<_> = (0..MOST_OF_ONE).map(|_| room.place(&ticket('a')).unwrap()).collect();
    assert_eq!(room.place(&ticket('a')).unwrap_err(), NoRoom::SessionsOfOne("pod"));
    places.extend((MOST_OF_ONE..100).map(|_| room.place(&ticket('b')).unwrap()));
    assert_eq!(room.place(&ticket('c')).unwrap_err(), NoRoom::Sessions(100));
    places.clear();
    assert!(room.counts().each.is_empty());
    room.place(&ticket('c')).unwrap();
}

#[test]
fn connections_are_counted_over_the_sessions_of_a_pod_and_over_all() {
    let room = Room::of(10, MOST_CONNECTIONS_OF_ONE + 1);
    let [one, same, other] = ['a', 'a', 'b'].map(|letter| Arc::new(room.place(&ticket(letter)).unwrap()));
    let mut open: Vec<_> = (0..MOST_CONNECTIONS_OF_ONE).map(|_| one.connection().unwrap()).collect();
    assert_eq!(same.connection().unwrap_err(), NoRoom::ConnectionsOfOne);
    open.push(other.connection().unwrap());
    assert_eq!(other.connection().unwrap_err(), NoRoom::Connections(MOST_CONNECTIONS_OF_ONE + 1));
    drop((one, same, other, open));
    assert!(room.counts().each.is_empty());
}
