//! Constant databases: the format of `cdb(5)`, in which `users/cdb` and `morercpthosts.cdb` are.

const TABLES: usize = 256;

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381u32, |hash, byte| (hash << 5).wrapping_add(hash) ^ u32::from(*byte))
}

/// Returns a database of the records, in their order: of one key, the first is found first.
pub fn make(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; TABLES * 8];
    let mut tables: Vec<Vec<(u32, u32)>> = vec![Vec::new(); TABLES];
    for (key, data) in records {
        let hash = hash(key);
        tables[hash as usize % TABLES].push((hash, bytes.len() as u32));
        for length in [key.len(), data.len()] {
            bytes.extend((length as u32).to_le_bytes());
        }
        bytes.extend(key.iter().chain(data));
    }
    for (number, table) in tables.iter().enumerate() {
        let slots = table.len() * 2;
        let mut places = vec![(0u32, 0u32); slots];
        for (hash, position) in table {
            let start = (*hash >> 8) as usize % slots;
            let free = (0..slots).map(|step| (start + step) % slots).find(|place| places[*place].1 == 0);
            places[free.unwrap_or(start)] = (*hash, *position);
        }
        let head = [bytes.len() as u32, slots as u32];
        bytes.extend(places.iter().flat_map(|(hash, position)| [*hash, *position]).flat_map(u32::to_le_bytes));
        for (index, value) in head.iter().enumerate() {
            let at = number * 8 + index * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// Returns the data of the first record with this key; nothing if there is none or the bytes are no database.
pub fn get<'b>(bytes: &'b [u8], key: &[u8]) -> Option<&'b [u8]> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let hash = hash(key);
    let head = hash as usize % TABLES * 8;
    let (table, slots) = (number(head)? as usize, number(head + 4)? as usize);
    for step in 0..slots {
        let slot = table + ((hash >> 8) as usize + step) % slots * 8;
        let (found, position) = (number(slot)?, number(slot + 4)? as usize);
        if position == 0 {
            return None;
        }
        let (key_length, data_length) = (number(position)? as usize, number(position + 4)? as usize);
        let start = position + 8;
        if found == hash && bytes.get(start..start + key_length)? == key {
            return bytes.get(start + key_length..start + key_length + data_length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_found_and_the_first_of_a_key_counts() {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> =
            (0..2000).map(|n| (format!("key {n}").into_bytes(), format!("data {n}").into_bytes())).collect();
        records.push((b"key 7".to_vec(), b"second".to_vec()));
        records.push((Vec::new(), b"of the empty key".to_vec()));
        let bytes = make(&records);
        for (key, data) in &records[..2000] {
            assert_eq!(get(&bytes, key), Some(data.as_slice()));
        }
        assert_eq!(get(&bytes, b""), Some(&b"of the empty key"[..]));
        assert_eq!(get(&bytes, b"key 2000"), None);
        assert_eq!(get(b"no database", b"key"), None);
    }

    #[test]
    fn the_format_is_that_of_cdb_5() {
        // One record: 2048 bytes of heads, two lengths, key and data, then a table of two slots.
        let bytes = make(&[(b"one".to_vec(), b"Hello".to_vec())]);
        assert_eq!(bytes.len(), 2048 + 8 + 3 + 5 + 16);
        assert_eq!(&bytes[2048..2064], b"\x03\0\0\0\x05\0\0\0oneHello");
        // cdb_hash("one") = ((5381 * 33 ^ 'o') * 33 ^ 'n') * 33 ^ 'e'.
        let expected = (((5381u32 * 33) ^ 0x6f).wrapping_mul(33) ^ 0x6e).wrapping_mul(33) ^ 0x65;
        assert_eq!(hash(b"one"), expected);
        let head = expected as usize % 256 * 8;
        assert_eq!(&bytes[head..head + 8], b"\x10\x08\0\0\x02\0\0\0");
    }
}
