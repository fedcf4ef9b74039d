//! `acceptedEpoch` and `currentEpoch`: read at start, replaced durably (storage-format 7).
//!
//! Thread: the flusher, in order with the log's jobs, since a promise must not overtake the txns.
//! Not here: what the epochs mean (`zab/`).

use std::io;

use super::disk::{Dir, Disk, FileName, read_whole, replace};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// The newest epoch this server promised a leader.
    Accepted,
    /// The epoch of the leader whose history this server took.
    Current,
}

impl Epoch {
    fn file(self) -> FileName {
        let name = match self {
            Self::Accepted => "acceptedEpoch",
            Self::Current => "currentEpoch",
        };
        FileName::new(Dir::Snap, name)
    }

    /// The stored value; `None` if there is no file.
    pub fn read(self, disk: &dyn Disk) -> io::Result<Option<u32>> {
        read(disk, &self.file())
    }

    /// Replaces it; after a crash the old value is there or the new one.
    pub fn write(self, disk: &mut dyn Disk, epoch: u32) -> io::Result<()> {
        replace(disk, &self.file(), epoch.to_string().as_bytes())
    }

    /// A value that was written aside and never renamed. Java takes it at start when the log has
    /// txns of a newer epoch than the file says.
    pub fn read_leftover(self, disk: &dyn Disk) -> io::Result<Option<u32>> {
        let FileName { dir, name } = self.file();
        read(disk, &FileName::new(dir, format!("{name}.tmp")))
    }
}

/// COMPAT: Java `QuorumPeer.readLongFromFile`: the first line, in decimal without blanks.
fn read(disk: &dyn Disk, file: &FileName) -> io::Result<Option<u32>> {
    let Some(bytes) = read_whole(disk, file)? else { return Ok(None) };
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let digits = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    let epoch = std::str::from_utf8(line).ok().filter(|_| digits).and_then(|s| s.parse().ok());
    epoch.map(Some).ok_or_else(|| {
        let path = disk.path(file);
        let text = String::from_utf8_lossy(line);
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: `{text}` is not an epoch; it must be a decimal number", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Dirs, RealDisk};
    use super::*;

    #[test]
    fn an_epoch_is_replaced_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path(), None);
        let file = dirs.path(Dir::Snap).join("currentEpoch");
        std::fs::create_dir_all(dirs.path(Dir::Snap)).unwrap();
        let mut disk = RealDisk::new(dirs);
        assert_eq!(Epoch::Current.read(&disk).unwrap(), None);
        Epoch::Current.write(&mut disk, 4_294_967_295).unwrap();
        Epoch::Accepted.write(&mut disk, 7).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"4294967295");
        assert_eq!(Epoch::Current.read(&disk).unwrap(), Some(u32::MAX));
        assert_eq!(Epoch::Accepted.read(&disk).unwrap(), Some(7));
        assert_eq!(Epoch::Current.read_leftover(&disk).unwrap(), None);
        std::fs::write(file.with_file_name("currentEpoch.tmp"), "9\n").unwrap();
        assert_eq!(Epoch::Current.read_leftover(&disk).unwrap(), Some(9));
        for bad in ["", "0x1", " 1", "1 ", "-1", "99999999999"] {
            std::fs::write(&file, bad).unwrap();
            let err = Epoch::Current.read(&disk).unwrap_err();
            assert!(err.to_string().contains("currentEpoch"), "{err}");
        }
    }
}
