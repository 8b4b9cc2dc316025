//! The id of a machine in the tables of its firmware (DMTF DSP0134, System Management BIOS).

/// Before the tables, in the answer of `GetSystemFirmwareTable`: the calling method, the version in two
/// bytes, the revision, and the length of what follows.
const HEAD: usize = 8;
/// The structure "System Information", and where in it the id is.
const SYSTEM: u8 = 1;
const ID: usize = 8;

/// The id of the machine, which differs between copies of a virtual machine; `None` where the maker set
/// none.
#[must_use]
pub fn system_id(answer: &[u8]) -> Option<[u8; 16]> {
    let length = u32::from_le_bytes(*answer.get(4..)?.first_chunk()?) as usize;
    let tables = answer.get(HEAD..)?;
    let mut rest = &tables[..length.min(tables.len())];
    while let &[kind, length, ..] = rest {
        let length = usize::from(length);
        if length < 4 {
            return None;
        }
        if kind == SYSTEM {
            let id = *rest.get(..length)?.get(ID..)?.first_chunk()?;
            return (id != [0; 16] && id != [0xff; 16]).then_some(id);
        }
        // Texts follow, each with a zero at its end, and one more zero after the last.
        let texts = rest.get(length..)?;
        let end = texts.windows(2).position(|pair| pair == [0, 0])?;
        rest = &texts[end + 2..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(id: [u8; 16]) -> Vec<u8> {
        let mut tables = vec![0, 6, 0, 0, 1, 2];
        tables.extend(b"SeaBIOS\x001.16\0\0");
        // Without texts, two zeros follow.
        tables.extend([11, 5, 1, 0, 0, 0, 0]);
        tables.extend([1, 27, 2, 0, 1, 2, 3, 4]);
        tables.extend(id);
        tables.extend([6, 5, 6]);
        tables.extend(b"QEMU\0\0");
        let mut answer = vec![0, 3, 0, 0];
        answer.extend(u32::try_from(tables.len()).unwrap().to_le_bytes());
        answer.extend(tables);
        answer
    }

    #[test]
    fn machine_ids_are_parsed() {
        let id = *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
        for (id, expected) in [(id, Some(id)), ([0; 16], None), ([0xff; 16], None)] {
            assert_eq!(system_id(&answer(id)), expected);
        }
        let whole = answer(id);
        for end in 0..whole.len() {
            let found = system_id(&whole[..end]);
            assert!(found.is_none() || found == Some(id), "{end}");
        }
        assert_eq!(system_id(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_id_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = system_id(&bytes);
        }
    }
}
