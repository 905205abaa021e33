use super::*;

fn check(text: &str, expected: Option<u64>) {
    assert_eq!(parse_quantity(text), expected, "{text:?}");
}

#[test]
fn quantities_read_as_kubernetes_reads_them() {
    check("10M", Some(10_000_000));
    check("1Gi", Some(1 << 30));
    check("1.5k", Some(1500));
    check("0.1", Some(1));
    check("100m", Some(1));
    check("1500m", Some(2));
    check("1e3", Some(1000));
    check("12E", Some(12_000_000_000_000_000_000));
    check("5.", Some(5));
    check(".5k", Some(500));
}

#[test]
fn what_is_no_quantity_is_refused() {
    for text in ["", ".", "M", "-1", "1 M", "1MB", "1..2", "1e", "99999E", "1K"] {
        check(text, None);
    }
}

#[test]
fn annotations_become_bits_per_second() {
    let annotations = [(INGRESS, "10M"), (EGRESS, "1G")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let read = Bandwidth::from_annotations(&annotations.into(), "web").unwrap();
    assert_eq!(read, Bandwidth { ingress_bits: 10_000_000, egress_bits: 1_000_000_000 });
    let none = Bandwidth::from_annotations(&BTreeMap::new(), "web").unwrap();
    assert_eq!(none, Bandwidth::default());
}

#[test]
fn an_insane_bandwidth_names_pod_and_annotation() {
    let annotations = [(INGRESS.to_owned(), "10".to_owned())].into();
    let error = Bandwidth::from_annotations(&annotations, "web").unwrap_err().to_string();
    assert_eq!(
        error,
        "network of pod web: annotation kubernetes.io/ingress-bandwidth = \"10\" is not a bandwidth between 1k and 1P bits per second"
    );
}
