#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn any_result_of_a_cni_plugin_is_read_or_refused() {
    replay("cni_result", super::cni_result, 3000);
}

#[test]
fn any_cni_configuration_is_read_or_refused() {
    replay("cni_conf", super::cni_conf, 3000);
}

#[test]
fn any_record_is_read_as_it_was_written_or_lost() {
    replay("record", super::record, 2000);
}

#[test]
fn any_checkpoint_archive_stays_in_its_directory() {
    replay("checkpoint", super::checkpoint, 500);
}

#[test]
fn any_configuration_is_taken_or_refused_by_its_field() {
    replay("request_fields", super::request_fields, 2000);
}
