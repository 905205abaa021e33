use proptest::prelude::*;

use super::*;

fn bytes(message: Message) -> Bytes {
    message.into_data()
}

#[test]
fn the_examples_of_the_package_documentation() {
    assert_eq!(bytes(Encoding::Binary.encode(1, b"\n"))[..], [1, 10]);
    assert_eq!(bytes(Encoding::Base64.encode(1, b"\n"))[..], *b"1Cg==");
    let decoded = Encoding::Base64.decode(Bytes::from_static(b"0Zm9vCg=="), false);
    assert_eq!(decoded, Ok(Inbound::Data { channel: 0, data: Bytes::from_static(b"foo\n") }));
}

#[test]
fn only_the_fifth_version_has_a_close_signal() {
    let signal = Bytes::from_static(&[255, 0]);
    assert_eq!(Encoding::Binary.decode(signal.clone(), true), Ok(Inbound::End { channel: 0 }));
    let data = Bytes::from_static(&[0]);
    assert_eq!(Encoding::Binary.decode(signal, false), Ok(Inbound::Data { channel: 255, data }));
    for wrong in [&[255][..], &[255, 0, 0]] {
        assert_eq!(Encoding::Binary.decode(Bytes::copy_from_slice(wrong), true), Err(Malformed::CloseSignal));
    }
}

#[test]
fn an_empty_message_says_nothing() {
    for encoding in [Encoding::Binary, Encoding::Base64] {
        assert_eq!(encoding.decode(Bytes::new(), true), Ok(Inbound::Nothing));
    }
}

#[test]
fn what_is_not_base64_is_refused() {
    for wrong in [&b"0Zm9"[..], b"0****", b"0Zg==Zg==", b"0\xff"] {
        assert_eq!(Encoding::Base64.decode(Bytes::copy_from_slice(wrong), false), Err(Malformed::NotBase64));
    }
}

proptest! {
    #[test]
    fn data_comes_out_as_it_went_in(
        channel in 0u8..10,
        data in proptest::collection::vec(any::<u8>(), 0..300),
        base64 in any::<bool>(),
        close_signal in any::<bool>(),
    ) {
        let encoding = if base64 { Encoding::Base64 } else { Encoding::Binary };
        let message = encoding.encode(channel, &data);
        prop_assert_eq!(message.is_text(), base64);
        let decoded = encoding.decode(bytes(message), close_signal);
        prop_assert_eq!(decoded, Ok(Inbound::Data { channel, data: data.into() }));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        message in proptest::collection::vec(any::<u8>(), 0..100),
        base64 in any::<bool>(),
        close_signal in any::<bool>(),
    ) {
        let encoding = if base64 { Encoding::Base64 } else { Encoding::Binary };
        let _ = encoding.decode(message.into(), close_signal);
    }
}
