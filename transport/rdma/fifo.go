package rdma

// fifo is a queue of frames, linked through an array that has, by Frame.ID, the frame behind it: a frame is in one queue at a time, so that all
// queues of a Link share the array.
type fifo struct {
	head, tail uint32 // of any meaning while len is not 0
	len        int
}

func (q *fifo) push(next []uint32, id uint32) {
	if q.len == 0 {
		q.head = id
	} else {
		next[q.tail] = id
	}
	q.tail = id
	q.len++
}

func (q *fifo) pop(next []uint32) uint32 {
	id := q.head
	q.head = next[id]
	q.len--
	return id
}
