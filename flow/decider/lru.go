package decider

import "container/list"

// lru is a map that forgets what was used longest ago when it is full. The
// caller locks.
type lru[K comparable, V any] struct {
	max   int
	items map[K]*list.Element
	order *list.List // of *lruItem; the front was used last
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](max int) *lru[K, V] {
	return &lru[K, V]{max: max, items: make(map[K]*list.Element), order: list.New()}
}

// get returns the value of key and marks it as used.
func (l *lru[K, V]) get(key K) (v V, ok bool) {
	e, ok := l.items[key]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true
}

// put sets the value of key and marks it as used.
func (l *lru[K, V]) put(key K, value V) {
	if e, ok := l.items[key]; ok {
		e.Value.(*lruItem[K, V]).value = value
		l.order.MoveToFront(e)
		return
	}
	if l.order.Len() >= l.max {
		l.drop(l.order.Back())
	}
	l.items[key] = l.order.PushFront(&lruItem[K, V]{key, value})
}

// remove forgets key.
func (l *lru[K, V]) remove(key K) {
	if e, ok := l.items[key]; ok {
		l.drop(e)
	}
}

func (l *lru[K, V]) drop(e *list.Element) {
	if e == nil {
		return
	}
	l.order.Remove(e)
	delete(l.items, e.Value.(*lruItem[K, V]).key)
}

func (l *lru[K, V]) len() int { return l.order.Len() }
