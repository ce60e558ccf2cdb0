package main

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/fastrpc/fastrpc/internal/tap"
)

// statsPrinter prints looks as tables, with rates since the look before.
type statsPrinter struct {
	out  io.Writer
	live bool // a terminal, where each look takes the place of the one before

	last     map[string]uint64 // by process or interface, queue and counter
	lastTime time.Time
	now      map[string]uint64
	since    time.Duration // 0: no rates yet
}

func (p *statsPrinter) print(s *statsLook) error {
	var b bytes.Buffer
	p.now, p.since = map[string]uint64{}, 0
	if !p.lastTime.IsZero() {
		p.since = s.Time.Sub(p.lastTime)
	}
	if p.live {
		b.WriteString("\x1b[H\x1b[2J") // home, clear
	}
	fmt.Fprintln(&b, s.Time.Format(time.DateTime))
	for _, i := range s.Interfaces {
		for j := range i.Processes {
			p.process(&b, i.Name, &i.Processes[j])
		}
		p.driver(&b, i)
	}
	p.last, p.lastTime = p.now, s.Time
	_, err := p.out.Write(b.Bytes())
	return err
}

// process prints a table of queues, and below it what is not 0 of everything else.
func (p *statsPrinter) process(b *bytes.Buffer, name string, s *processStats) {
	var ports []string
	for _, port := range s.Ports {
		ports = append(ports, strconv.Itoa(int(port)))
	}
	fmt.Fprintf(b, "\n%s  %s (pid %d, user %d)  %s  udp %s\n", name, s.Program, s.Pid, s.Uid, tap.Printable(s.Mode), strings.Join(ports, ", "))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "queue\treceived\t/s\tMbit/s\tsent\t/s\tMbit/s\tfill\trx\ttx\tcompletion\tfree\treceive\tborrowed\tin flight\t")
	for i := range s.Queues {
		q := &s.Queues[i]
		key := fmt.Sprintf("%s %d ", s.key, q.Stats.Queue)
		mark := ""
		if !q.Current {
			mark = "*"
		}
		fmt.Fprintf(t, "%d%s\t%d\t%s\t%s\t%d\t%s\t%s\t", q.Stats.Queue, mark,
			q.Stats.Received, p.rate(key+"rx", q.Stats.Received, 1), p.rate(key+"rx bytes", q.Stats.ReceivedBytes, 8e-6),
			q.Stats.Sent, p.rate(key+"tx", q.Stats.Sent, 1), p.rate(key+"tx bytes", q.Stats.SentBytes, 8e-6))
		fmt.Fprintf(t, "%d/%d\t%d/%d\t%d/%d\t%d/%d\t", q.Rings.Fill.Used, q.Rings.Fill.Size, q.Rings.Rx.Used, q.Rings.Rx.Size,
			q.Rings.Tx.Used, q.Rings.Tx.Size, q.Rings.Completion.Used, q.Rings.Completion.Size)
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t\n", q.Frames.Free, q.Frames.Receive, q.Frames.Borrowed, q.Frames.InFlight)
	}
	_ = t.Flush() // into a buffer
	for i := range s.Queues {
		q := &s.Queues[i]
		inTable := []string{"received", "received bytes", "sent", "sent bytes"}
		p.counters(b, fmt.Sprintf("queue %d", q.Stats.Queue), string(s.key), counters(q.Stats), inTable)
	}
	p.counters(b, "steering", string(s.key), counters(s.Steering), nil)
}

// driver prints the driver's counters, those of a queue in a line.
func (p *statsPrinter) driver(b *bytes.Buffer, i *interfaceStats) {
	var of []counter
	flush := func(queue int) {
		title := i.Name + " driver"
		if queue >= 0 {
			title += fmt.Sprintf(", queue %d", queue)
		}
		p.counters(b, title, i.Name, of, nil)
		of = nil
	}
	b.WriteByte('\n')
	for n, s := range i.driver {
		if n > 0 && s.Queue != i.driver[n-1].Queue {
			flush(i.driver[n-1].Queue)
		}
		of = append(of, counter{s.Counter, s.Value})
	}
	if len(of) > 0 {
		flush(i.driver[len(i.driver)-1].Queue)
	}
}

// counters prints those that are not 0, in a line.
func (p *statsPrinter) counters(b *bytes.Buffer, title, key string, of []counter, but []string) {
	var out []string
	for _, c := range of {
		rate := p.rate(key+" "+title+" "+c.name, c.value, 1)
		if c.value == 0 || slices.Contains(but, c.name) {
			continue
		}
		text := fmt.Sprintf("%s %d", c.name, c.value)
		if rate != "0" && rate != "-" {
			text += " (" + rate + "/s)"
		}
		out = append(out, text)
	}
	if len(out) > 0 {
		fmt.Fprintf(b, "%s: %s\n", title, strings.Join(out, ", "))
	}
}

// rate is how much a counter grew in a second, times scale.
func (p *statsPrinter) rate(key string, value uint64, scale float64) string {
	p.now[key] = value
	before, ok := p.last[key]
	if !ok || p.since <= 0 || value < before {
		return "-"
	}
	return strconv.FormatFloat(float64(value-before)*scale/p.since.Seconds(), 'f', 0, 64)
}

// counter is one, with its name in words.
type counter struct {
	name  string
	value uint64
}

// counters lists the uint64 fields of a struct and of those in it.
func counters(of any) (list []counter) {
	v := reflect.ValueOf(of)
	for i := range v.NumField() {
		name := words(v.Type().Field(i).Name)
		switch f := v.Field(i); {
		case f.Kind() == reflect.Uint64:
			list = append(list, counter{name, f.Uint()})
		case f.Kind() == reflect.Struct && name != "steering": // which is the interface's, and stands apart
			list = append(list, counters(f.Interface())...)
		}
	}
	return list
}

// words makes "rx ring full" of "RxRingFull".
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
