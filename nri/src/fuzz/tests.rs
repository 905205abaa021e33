#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn whatever_a_plugin_sends_ends_its_connection_or_is_answered() {
    replay("nri_connection", super::connection, 1000);
}

#[test]
fn any_wish_of_plugins_is_granted_or_refused_by_name() {
    replay("nri_adjustment", super::adjustment, 3000);
}
