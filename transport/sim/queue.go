package sim

import "github.com/fastrpc/fastrpc/transport"

// item is one event to come; record says what.
type item struct {
	due    transport.Time
	seq    uint64
	record int32
}

func (a *item) before(b *item) bool { return a.due < b.due || a.due == b.due && a.seq < b.seq }

// record is a packet under way or, where dir is nil, a read, or a frame whose flight ends.
type record struct {
	dir      *direction
	packet   []byte // its capacity is kept from use to use
	number   uint64 // of the packet; see TraceRecord
	read     *read
	sender   *Link
	frame    uint32
	ecn      uint8
	reliable bool
	through  bool // the receiver's bottleneck lies behind it
}

// queue is a heap of events in a 4-ary layout, which halves the depth of a binary one and keeps siblings on neighbouring cache lines, and the
// pooled records that they point to. Both grow to the most that was ever under way and stay there.
type queue struct {
	heap    []item
	seq     uint64
	records []record
	unused  []int32
}

// record returns a record to fill in. The pointer holds until the next call.
func (q *queue) record() (int32, *record) {
	if last := len(q.unused) - 1; last >= 0 {
		i := q.unused[last]
		q.unused = q.unused[:last]
		return i, &q.records[i]
	}
	q.records = append(q.records, record{})
	return int32(len(q.records) - 1), &q.records[len(q.records)-1]
}

func (q *queue) recycle(i int32) {
	r := &q.records[i]
	*r = record{packet: r.packet[:0]}
	q.unused = append(q.unused, i)
}

func (q *queue) push(due transport.Time, rec int32) {
	q.seq++
	it := item{due, q.seq, rec}
	i := len(q.heap)
	q.heap = append(q.heap, it)
	for i > 0 {
		up := (i - 1) / 4
		if !it.before(&q.heap[up]) {
			break
		}
		q.heap[i] = q.heap[up]
		i = up
	}
	q.heap[i] = it
}

func (q *queue) pop() item {
	top := q.heap[0]
	last := len(q.heap) - 1
	it := q.heap[last]
	q.heap = q.heap[:last]
	if last == 0 {
		return top
	}
	i := 0
	for {
		least := 4*i + 1
		if least >= last {
			break
		}
		for j := least + 1; j < min(4*i+5, last); j++ {
			if q.heap[j].before(&q.heap[least]) {
				least = j
			}
		}
		if !q.heap[least].before(&it) {
			break
		}
		q.heap[i] = q.heap[least]
		i = least
	}
	q.heap[i] = it
	return top
}
