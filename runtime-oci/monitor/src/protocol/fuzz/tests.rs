#[path = "../../../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn any_frame_comes_as_it_was_sent_and_any_message_is_read_or_refused() {
    replay("protocol", super::protocol, 3000);
}

#[test]
fn no_name_of_a_process_is_taken_for_its_numbers() {
    replay("process_name", super::process_name, 3000);
}
