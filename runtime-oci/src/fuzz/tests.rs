#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn any_cdi_file_is_read_or_refused() {
    replay("cdi", super::cdi, 2000);
}

#[test]
fn any_user_of_any_image_is_who_it_says_or_nobody() {
    replay("users", super::users, 2000);
}

#[test]
fn any_answer_and_log_of_a_runtime_is_read() {
    replay("features", super::features, 3000);
}
