use super::*;

async fn come(strangers: &Strangers, from: &str, count: usize) -> Vec<Stranger> {
    let local = "192.0.2.1:10010".parse().unwrap();
    let mut admitted = Vec::new();
    for _ in 0..count {
        let room = strangers.room().await;
        admitted.extend(strangers.admit(room, SocketAddr::new(from.parse().unwrap(), 1), local));
    }
    admitted
}

#[tokio::test]
async fn one_host_is_let_in_so_often_and_others_still_are() {
    let strangers = Strangers::new();
    let one = come(&strangers, "198.51.100.1", 100).await;
    let network =
        come(&strangers, "2001:db8::1", 20).await.len() + come(&strangers, "2001:db8::2", 20).await.len();
    assert_eq!((one.len(), network), (MOST_OF_ONE, MOST_OF_ONE));
    drop(one);
    assert_eq!(come(&strangers, "198.51.100.1", 1).await.len(), 1);
    assert!(strangers.foreign().is_empty());
}

#[tokio::test]
async fn the_nodes_own_find_room_beside_all_others() {
    let strangers = Strangers::new();
    let mut all = Vec::new();
    for number in 0..20 {
        all.extend(come(&strangers, &format!("198.51.100.{number}"), MOST_OF_ONE).await);
    }
    assert_eq!(all.len(), MOST_FOREIGN);
    for own in ["127.0.0.1", "::ffff:127.0.0.1", "192.0.2.1", "::1"] {
        all.extend(come(&strangers, own, 16).await);
    }
    assert_eq!(all.len(), MOST);
}
