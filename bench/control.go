package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A control is a channel of lines of JSON, each an order one way and its answer the other way: to a child, or to an agent.
type control struct {
	in    io.WriteCloser // orders
	out   deadlineReader // answers
	lines *bufio.Reader  // of out
	owing bool           // an order has no answer: the other end is busy with it, or gone
	gone  error          // says so of the other end
	dead  bool           // it was said
}

type deadlineReader interface {
	io.ReadCloser
	SetReadDeadline(time.Time) error
}

func newControl(in io.WriteCloser, out deadlineReader) *control {
	return &control{in: in, out: out, lines: bufio.NewReader(out), gone: errGone}
}

// Limits of a line. Answers carry histograms; orders are short.
const (
	maxAnswer = 16 << 20
	maxOrder  = 64 << 10
)

var (
	errTooLong = errors.New("the line is too long")
	errGone    = errors.New("ended early") // the other end
)

// readLine reads a line of at most so many bytes, without its end.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > most {
			return nil, errTooLong
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			if err != nil {
				return nil, err
			}
			return line[:len(line)-1], nil
		}
	}
}

// exchange sends an order and waits for its answer: for so long, or as long as it takes when limit is 0. After an error the channel is of no
// use, but for what the other end does when it is closed.
func (c *control) exchange(ctx context.Context, order []byte, limit time.Duration) ([]byte, error) {
	var deadline time.Time
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	if err := c.out.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c.owing = true
	_, err := c.in.Write(append(order, '\n'))
	var line []byte
	if err == nil {
		line, err = readLine(c.lines, maxAnswer)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("no answer within %v to %s", limit, order)
	case err != nil:
		c.dead = true
		return nil, fmt.Errorf("%w: %w", c.gone, err)
	}
	c.owing = false
	return line, nil
}

// ask is exchange in JSON.
func (c *control) ask(ctx context.Context, order, answer any, limit time.Duration) error {
	line, err := json.Marshal(order)
	if err == nil {
		line, err = c.exchange(ctx, line, limit)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, answer); err != nil {
		return fmt.Errorf("answer to %T: %w", order, err)
	}
	return nil
}
