use super::{Algorithm, Digest, Hasher};

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn known_digests_come_out() {
    assert_eq!(Digest::of(b"").to_string(), EMPTY);
    assert_eq!(
        Digest::of_with(Algorithm::Sha512, b"abc").to_string(),
        "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    );
}

#[test]
fn streaming_and_whole_agree() {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(b"link");
    hasher.update(b"span");
    assert_eq!(hasher.finish(), Digest::of(b"linkspan"));
}

#[test]
fn text_round_trips_and_bad_text_is_refused() {
    assert_eq!(EMPTY.parse::<Digest>().unwrap().to_string(), EMPTY);
    let upper = EMPTY.replace('e', "E");
    let long = format!("{EMPTY}0");
    for bad in ["", "sha256:", "sha256", "md5:00", &EMPTY[..70], &upper, &long, &EMPTY[7..], "sha256:../../x"]
    {
        assert!(bad.parse::<Digest>().is_err(), "{bad} was accepted");
    }
}

#[test]
fn chain_of_one_is_the_diff_id() {
    let a = Digest::of(b"a");
    let b = Digest::of(b"b");
    let bottom = Digest::chain(None, &a);
    assert_eq!(bottom, a);
    assert_eq!(Digest::chain(Some(&bottom), &b), Digest::of(format!("{a} {b}").as_bytes()));
}
