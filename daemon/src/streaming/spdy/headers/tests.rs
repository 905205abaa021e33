use super::*;

fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = (headers.len() as u32).to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend((text.len() as u32).to_be_bytes());
        block.extend(text.as_bytes());
    }
    block
}

fn deflate(compress: &mut Compress, plain: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(plain.len() + 1024);
    compress.compress_vec(plain, &mut block, FlushCompress::Sync).expect("room enough");
    block
}

#[test]
fn blocks_are_read_with_and_without_the_dictionary() {
    for with_dictionary in [true, false] {
        let (mut compress, mut inflater) = (Compress::new(Compression::best(), true), Inflater::new());
        if with_dictionary {
            compress.set_dictionary(DICTIONARY).expect("nothing was compressed yet");
        }
        for port in ["80", "8080", "443"] {
            let plain = block(&[("streamType", "data"), ("port", port)]);
            let headers = inflater.read(&deflate(&mut compress, &plain)).expect("a valid block");
            assert_eq!((headers.get("streamtype"), headers.get("Port")), (Some("data"), Some(port)));
            assert_eq!(headers.get("requestid"), None);
        }
    }
}

#[test]
fn a_block_that_becomes_large_is_refused() {
    let mut compress = Compress::new(Compression::best(), true);
    let bomb = deflate(&mut compress, &block(&[("name", &"x".repeat(4 << 20))]));
    assert!(bomb.len() < 64 << 10);
    assert!(Inflater::new().read(&bomb).is_err());
}

#[test]
fn our_own_empty_blocks_are_read() {
    let (mut blocks, mut inflater) = (EmptyBlocks::new(), Inflater::new());
    for _ in 0..3 {
        assert_eq!(inflater.read(&blocks.next_block()).expect("a valid block"), Headers::default());
    }
}

#[test]
fn long_headers_are_told() {
    for (length, too_long) in [(MAX_HEADER_BYTES, false), (MAX_HEADER_BYTES + 1, true)] {
        let text = "x".repeat(length);
        for headers in [[("port", text.as_str())], [(text.as_str(), "80")]] {
            let block = Deflater::new().deflate(&block(&headers));
            let headers = Inflater::new().read(&block).expect("a valid block");
            assert_eq!(headers.are_too_long(), too_long, "{length}");
        }
    }
}

#[test]
fn noise_is_refused() {
    assert!(Inflater::new().read(&[1, 2, 3, 4]).is_err());
    assert!(Inflater::new().read(&[]).is_err());
}
