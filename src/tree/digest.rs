//! The digest that replicas compare at equal zxids (storage-format.md, section 8, version 2): the
//! wrapping sum of a CRC-32 of each node.

use crate::sys::versions::Fields;

/// What lies below is different on each server and not counted.
const UNCOUNTED: &[u8] = b"/zookeeper/";

/// A node's part of the sum, 0 for those that are not counted. The root's path is empty.
pub(super) fn of_node(path: &[u8], data: Option<&[u8]>, fields: &Fields) -> u32 {
    if path.starts_with(UNCOUNTED) {
        return 0;
    }
    let mut stat = [0; 60];
    let longs = [
        fields.czxid.to_wire(),
        fields.mzxid.to_wire(),
        fields.pzxid.to_wire(),
        fields.ctime,
        fields.mtime,
    ];
    for (place, long) in stat.chunks_exact_mut(8).zip(longs) {
        place.copy_from_slice(&long.to_be_bytes());
    }
    let ints = [fields.version, fields.cversion, fields.aversion];
    for (place, int) in stat[40..52].chunks_exact_mut(4).zip(ints) {
        place.copy_from_slice(&int.to_be_bytes());
    }
    stat[52..].copy_from_slice(&fields.owner.to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(path);
    crc.update(data.unwrap_or_default());
    crc.update(&stat);
    crc.finalize()
}

/// The sum after a node's part changed from `old` to `new`.
pub(super) fn step(sum: u64, old: u32, new: u32) -> u64 {
    sum.wrapping_sub(u64::from(old)).wrapping_add(u64::from(new))
}
