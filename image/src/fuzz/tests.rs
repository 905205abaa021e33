#[path = "../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn no_tar_leads_out_of_its_layer_or_holds_more_than_it_is() {
    replay("tar", super::tar, 3000);
}

#[test]
fn nothing_of_a_layer_is_unpacked_outside_of_it() {
    if crate::layer::tests::is_root() {
        replay("unpack", super::unpack, 300);
    }
}

#[test]
fn damaged_compression_is_hashed_to_its_end_and_bounded() {
    replay("compression", super::compression, 300);
}

#[test]
fn any_manifest_or_index_is_read_or_refused() {
    replay("document", super::document, 3000);
}

#[test]
fn any_image_configuration_is_read_or_refused() {
    replay("config", super::config, 3000);
}

#[test]
fn any_challenge_is_answered_or_passed_over() {
    replay("challenge", super::challenge, 5000);
}

#[test]
fn any_answer_of_a_token_server_is_read_or_refused_unquoted() {
    replay("token", super::token, 5000);
}

#[test]
fn any_reference_is_shown_as_what_it_is() {
    replay("reference", super::reference, 5000);
}

#[test]
fn any_hosts_toml_gives_hosts_or_says_its_line() {
    replay("hosts_toml", super::hosts_toml, 1500);
}

#[test]
fn any_registries_conf_gives_hosts_or_names_the_file() {
    replay("registries_conf", super::registries_conf, 1500);
}

#[test]
fn any_archive_of_images_is_read_or_refused() {
    replay("archive", super::archive, 1500);
}
