//! Not a crate: who fuzzes what reads tar archives includes this file.

/// The same archive with checksums that are right: no change of a header would get any further otherwise.
pub(crate) fn mended(data: &[u8]) -> Vec<u8> {
    let (mut archive, mut at) = (data.to_vec(), 0);
    while let Some(header) = archive.get_mut(at..at + 512) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = header[124..136].iter().skip_while(|byte| matches!(byte, b' ' | 0));
        let digits = digits.take_while(|byte| matches!(byte, b'0'..=b'7'));
        let size = digits.fold(0_usize, |size, digit| size * 8 + usize::from(digit - b'0'));
        // Only files and extended headers have data.
        let has_data = matches!(header[156], 0 | b'0' | b'7' | b'S' | b'x' | b'g' | b'L' | b'K');
        at += 512 + if has_data { size.next_multiple_of(512) } else { 0 };
    }
    archive
}
