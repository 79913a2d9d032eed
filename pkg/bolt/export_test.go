package bolt

// Unsynced leaves it to the system when what is written reaches the disk: for tests
// that write much and lose nothing by it.
func (s *Store) Unsynced() { s.db.NoSync = true }
