use linkspan_cri_api::v1::Container;
use prost::Message as _;

use super::cut;

fn container(name_bytes: usize) -> Container {
    Container { image_ref: "x".repeat(name_bytes), ..Default::default() }
}

fn check(sizes: &[usize], expected: &[usize]) {
    let items: Vec<_> = sizes.iter().map(|bytes| container(*bytes)).collect();
    let one = container(10).encoded_len();
    let batches = cut(items.clone(), 3 * one);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{sizes:?}");
    assert_eq!(batches.concat(), items, "each once, in order");
}

#[test]
fn messages_are_filled_and_none_is_empty() {
    check(&[], &[]);
    check(&[10], &[1]);
    check(&[10; 3], &[3]);
    check(&[10; 7], &[3, 3, 1]);
}

#[test]
fn one_that_is_too_large_goes_alone() {
    check(&[10, 500, 10, 10], &[1, 1, 2]);
}
