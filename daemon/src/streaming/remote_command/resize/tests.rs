use proptest::prelude::*;

use super::*;

/// All sizes of a stream that comes in these pieces.
fn sizes(pieces: &[&[u8]]) -> Vec<(u16, u16)> {
    let mut builder = tokio_test_pieces(pieces);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut sizes = Sizes::new(&mut builder);
        let mut all = Vec::new();
        while let Some(size) = sizes.next().await {
            all.push((size.columns, size.rows));
        }
        all
    })
}

/// A reader that gives one piece at a time.
fn tokio_test_pieces<'p>(pieces: &'p [&'p [u8]]) -> Box<dyn AsyncRead + Unpin + 'p> {
    pieces
        .iter()
        .fold(Box::new(&b""[..]) as Box<dyn AsyncRead + Unpin>, |all, piece| Box::new(all.chain(*piece)))
}

#[test]
fn sizes_come_one_after_the_other_however_they_are_cut() {
    let wire = br#"{"Width":80,"Height":24}
 {"Width":132,"Height":43}"#;
    for cut in 0..wire.len() {
        let (one, other) = wire.split_at(cut);
        assert_eq!(sizes(&[one, other]), [(80, 24), (132, 43)], "cut at {cut}");
    }
}

#[test]
fn what_is_no_size_ends_it() {
    for wrong in [&b"[1]"[..], b"{\"Width\":70000,\"Height\":1}", b"x", b"{}", &[b' '; 4096]] {
        let first = br#"{"Width":80,"Height":24}"#;
        assert_eq!(sizes(&[first, wrong, first]).first(), Some(&(80, 24)), "{wrong:?}");
    }
    let endless = vec![b'{'; 100_000];
    assert_eq!(sizes(&[&endless]), []);
}

proptest! {
    #[test]
    fn any_bytes_end_somewhere(wire in proptest::collection::vec(any::<u8>(), 0..3000)) {
        sizes(&[&wire]);
    }
}
