package futex

// OwnerDies does for one entry of an exiting thread's robust list what
// set_robust_list(2) says: if word, key's, names the thread tid, the owner is
// marked dead and, but for a PI futex, one waiter is woken. pending says that
// the entry is the one the thread was about to lock or unlock: a word that
// names nobody then may have swallowed a wake-up, and one is woken too. EFAULT;
// waiters of the wrong kind are passed over, an exiting thread has nobody to tell.
func (m *Manager[K]) OwnerDies(key K, word Word, tid uint32, pi, pending bool) error {
	b := m.bucket(key)
	return retry(word, true, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		cur, err := word.Load()
		if err != nil {
			return err
		}
		if pending && !pi && cur&TIDMask == 0 {
			b.wakeSome(key, 1, BitsetAll)
			return nil
		}
		for range maxChanges {
			if cur&TIDMask != tid {
				return nil
			}
			found, err := word.CompareAndSwap(cur, cur&Waiters|OwnerDied)
			if err != nil {
				return err
			}
			if found != cur {
				cur = found
				continue
			}
			if !pi && cur&Waiters != 0 {
				b.wakeSome(key, 1, BitsetAll)
			}
			return nil
		}
		return nil
	})
}
