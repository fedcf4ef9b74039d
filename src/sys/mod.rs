//! The only unsafe code of the crate, one safe type a file. A leaf: knows no ZooKeeper.
