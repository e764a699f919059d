//! HPACK's Huffman code (RFC 7541, appendix B), as far as it takes to overwrite a text with another of the same size.
//!
//! The code is canonical: codes of one length are consecutive numbers, in order of length. So the number of codes of
//! each length tells where every symbol of a text ends, and no table has to say what it stands for.

/// How many symbols have a code of so many bits. EOS is left out: no text may contain it.
const CODES_BY_BITS: [u32; 31] =
    [0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 3];

/// `a` and `~`, code and bits. One has eight bits more than the other, so that some mix of them fills any whole number
/// of bytes with any number of symbols.
const SHORT: (u32, usize) = (0b00011, 5);
const LONG: (u32, usize) = (0b1_1111_1111_1101, 13);

/// The number of symbols; None when the bytes are no text.
fn count(text: &[u8]) -> Option<usize> {
    let mut symbols = 0;
    let (mut bits, mut code, mut first_code) = (0, 0, 0);
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1))) {
        bits += 1;
        code = code << 1 | bit;
        first_code <<= 1;
        let codes = *CODES_BY_BITS.get(bits)?;
        if code - first_code < codes {
            symbols += 1;
            (bits, code, first_code) = (0, 0, 0);
        } else {
            first_code += codes;
        }
    }
    let is_padding = bits < 8 && code == (1 << bits) - 1;
    is_padding.then_some(symbols)
}

/// Overwrites a text with as many letters that every URI allows, in as many bytes. Bytes that are no text stay, and so
/// does a text of rare symbols only, which an encoder sends uncoded.
pub fn overwrite(text: &mut [u8]) {
    let Some(symbols) = count(text) else {
        return;
    };
    let longs = text.len() - (symbols * SHORT.1).div_ceil(8);
    if longs > symbols {
        return;
    }
    let (mut pending, mut bits) = (0, 0);
    let mut bytes = text.iter_mut();
    for symbol in 0..symbols {
        let (code, size) = if symbol < longs { LONG } else { SHORT };
        pending = pending << size | code;
        bits += size;
        while bits >= 8 {
            bits -= 8;
            if let Some(byte) = bytes.next() {
                *byte = (pending >> bits) as u8;
            }
        }
    }
    if let Some(byte) = bytes.next() {
        *byte = (pending << (8 - bits)) as u8 | 0xff >> bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_fill_the_code_but_for_the_end_of_a_string() {
        let room: u64 = CODES_BY_BITS.iter().zip(0..).map(|(codes, bits)| u64::from(*codes) << (30 - bits)).sum();
        assert_eq!((CODES_BY_BITS.iter().sum::<u32>(), room), (256, (1 << 30) - 1));
    }

    #[test]
    fn texts_of_the_rfc_are_counted() {
        let texts: [(&[u8], usize); 3] = [
            (b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "www.example.com".len()),
            (b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3", "https://www.example.com".len()),
            (b"", 0),
        ];
        for (text, symbols) in texts {
            assert_eq!(count(text), Some(symbols));
        }
    }

    #[test]
    fn what_is_no_text_is_left_alone() {
        // A byte of padding, padding of zeros, the end of a string.
        for text in [&b"\xff"[..], b"\x1f\xff", b"\x18", b"\xff\xff\xff\xff"] {
            let mut bytes = text.to_vec();
            overwrite(&mut bytes);
            assert_eq!((count(text), &bytes[..]), (None, text));
        }
    }

    #[test]
    fn random_texts_are_overwritten_by_as_many_letters_or_stay() {
        let mut state = 1_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let mut overwritten = 0;
        for round in 0..100_000 {
            let text: Vec<u8> = (0..round % 24).map(|_| random()).collect();
            let mut bytes = text.clone();
            overwrite(&mut bytes);
            if bytes == text {
                continue;
            }
            let symbols = count(&text).unwrap();
            let longs = text.len() - (symbols * 5).div_ceil(8);
            let bits = "1111111111101".repeat(longs) + &"00011".repeat(symbols - longs);
            let padded = format!("{bits:1<width$}", width = 8 * text.len());
            let digits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
            assert_eq!(digits, padded);
            overwritten += 1;
        }
        assert!(overwritten > 1000, "{overwritten}");
    }
}
