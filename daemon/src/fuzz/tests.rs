#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn whatever_a_spdy_peer_sends_ends_its_session_or_does_nothing() {
    replay("spdy", super::spdy_session, 3000);
}

#[test]
fn whatever_a_websocket_peer_sends_ends_its_session_or_does_nothing() {
    replay("websocket", super::websocket_session, 2000);
}

#[test]
fn streams_of_port_forward_never_find_another_connections() {
    replay("port_forward_pairs", super::port_forward_pairs, 3000);
}

#[test]
fn any_request_for_a_session_is_answered_with_what_was_asked_for_or_refused() {
    replay("negotiation", super::negotiation, 3000);
}

#[test]
fn any_size_of_a_terminal_is_read_or_ends_the_stream() {
    replay("terminal_sizes", super::terminal_sizes, 3000);
}

#[test]
fn any_valid_message_of_cri_is_converted_or_refused_by_a_field_that_it_has() {
    replay("cri_request", super::cri_request, 3000);
}
