package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fastrpc/fastrpc/transport/wire"
	"github.com/fastrpc/fastrpc/transport/wire/dissect"
)

func decodeCommand() *cobra.Command {
	var d decoder
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "decode FILE",
		Short: "Show the packets of a capture",
		Long: `Decode reads a capture, pcap or pcapng, and prints each fastrpc packet in it: one line with the time (UTC), the
addresses and the packet, (CE) between them when the network marked it as having met congestion; below it one
line a frame. FILE - is standard input; each packet is then printed as soon as it is there. How many packets
and frames there were, and what was wrong with them, follows on standard error.

Without --port a UDP datagram is taken for a fastrpc packet when its checksum is right, or when its types and
all lengths in it are such that it can be nothing else but a damaged or cut one. With --port everything from
or to that port that has a first byte of ours is.`,
		Example: `  tcpdump -i eth0 -w calls.pcap udp port 9000 && fastrpc decode calls.pcap
  tcpdump -i any -U -w - udp | fastrpc decode - --port 9000
  fastrpc decode calls.pcap --json | jq 'select(.packet.checksum == "wrong")'`,
		Args: usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"pcap", "pcapng", "cap"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("port") && d.port == 0 {
				return usageError{errors.New("--port takes a number from 1 to 65535")}
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			d.live = args[0] == "-"
			d.use(cmd.OutOrStdout(), asJSON)
			if err := d.run(cmd.Context(), in, cmd.ErrOrStderr()); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.Uint16Var(&d.port, "port", 0, "decode what comes from or goes to this UDP port, and nothing else")
	f.BoolVar(&asJSON, "json", false, "print JSON, one object a packet")
	f.BoolVar(&d.raw, "raw", false, "also print the bytes of each packet, in hexadecimal")
	_ = cmd.RegisterFlagCompletionFunc("port", cobra.NoFileCompletions)
	return cmd
}

// decoder goes through one capture.
type decoder struct {
	port   uint16 // 0: any
	raw    bool
	live   bool // someone waits for each packet
	print  func(*capturedPacket, *datagram) error
	out    *bufio.Writer
	finder datagramFinder
	packet dissect.Packet
	counts decodeCounts
}

// use sets where the packets go, and in which form.
func (d *decoder) use(out io.Writer, asJSON bool) {
	d.out = bufio.NewWriter(out)
	d.print = d.printText
	if asJSON {
		d.print = d.printJSON
	}
}

// run decodes until the capture or the context ends, both of which are a good end, and then prints the counts.
func (d *decoder) run(ctx context.Context, in io.Reader, errOut io.Writer) error {
	in, stop := interruptible(ctx, in)
	defer stop()
	c, err := openCaptureFile(in)
	if err != nil && ctx.Err() == nil {
		return err
	}
	for err == nil {
		var p capturedPacket
		if p, err = c.next(); err == nil {
			err = d.decode(&p)
		}
	}
	if err == io.EOF || errors.Is(err, context.Canceled) {
		err = nil
	}
	err = errors.Join(err, d.out.Flush())
	d.counts.print(errOut, d.port)
	return err
}

// interruptible makes a reader that fails with the context's error as soon as that ends. A read from a pipe or a terminal cannot be broken
// off, so a goroutine does it, which may stay behind in its last one until the process ends.
func interruptible(ctx context.Context, in io.Reader) (out io.Reader, stop func()) {
	r, w := io.Pipe()
	forget := context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	return r, func() {
		forget()
		r.Close()
	}
}

func (d *decoder) decode(c *capturedPacket) error {
	first, skip, known := firstLayer(c.link, c.data)
	if !known {
		d.counts.unread, d.counts.unreadLink = d.counts.unread+1, c.link
		return nil
	}
	g, ok := d.finder.find(first, c.data[skip:])
	if !ok || d.port != 0 && g.src.Port() != d.port && g.dst.Port() != d.port ||
		d.packet.Decode(g.payload, g.length) != nil || d.port == 0 && !d.packet.Plausible() {
		d.counts.others++
		return nil
	}
	d.counts.add(&d.packet)
	if err := d.print(c, &g); err != nil || !d.live {
		return err
	}
	return d.out.Flush()
}

func (d *decoder) printText(c *capturedPacket, g *datagram) error {
	at, mark := "-", ""
	if !c.at.IsZero() {
		at = c.at.Format("15:04:05.000000000")
	}
	if g.marked {
		mark = "(CE) "
	}
	_, err := fmt.Fprintf(d.out, "%s %v > %v %s%v\n", at, g.src, g.dst, mark, &d.packet)
	if d.raw && err == nil {
		for line := range strings.Lines(hex.Dump(g.payload)) {
			_, err = fmt.Fprintf(d.out, "    %s", line)
		}
	}
	return err
}

func (d *decoder) printJSON(c *capturedPacket, g *datagram) error {
	o := struct {
		Time   string          `json:"time,omitempty"`
		Src    string          `json:"src"`
		Dst    string          `json:"dst"`
		CE     bool            `json:"ce"` // of the IP header
		Packet *dissect.Packet `json:"packet"`
		Raw    string          `json:"raw,omitempty"`
	}{Src: g.src.String(), Dst: g.dst.String(), CE: g.marked, Packet: &d.packet}
	if !c.at.IsZero() {
		o.Time = c.at.Format("2006-01-02T15:04:05.000000000Z")
	}
	if d.raw {
		o.Raw = hex.EncodeToString(g.payload)
	}
	return json.NewEncoder(d.out).Encode(o)
}

// decodeCounts is what there was in a capture.
type decodeCounts struct {
	kinds                 [wire.Reset + 1]int
	frames                [wire.Response + 1]int
	wrong, cut, malformed int
	others                int // no packets of ours
	unread                int // of links that decode does not read
	unreadLink            linkType
}

func (n *decodeCounts) add(p *dissect.Packet) {
	n.kinds[p.Kind]++
	for i := range p.Frames {
		n.frames[p.Frames[i].Type]++
	}
	if p.Checksum == dissect.ChecksumWrong {
		n.wrong++
	}
	if len(p.Contents) < p.Length {
		n.cut++
	}
	if p.Malformed != "" {
		n.malformed++
	}
}

func (n *decodeCounts) print(w io.Writer, port uint16) {
	packets := list(n.kinds[:], func(i int) string { return wire.Kind(i).String() })
	frames := list(n.frames[:], func(i int) string { return wire.FrameType(i).String() })
	fmt.Fprintf(w, "packets: %s\nframes: %s\n", cmp.Or(packets, "none"), cmp.Or(frames, "none"))
	fmt.Fprintf(w, "checksum wrong: %d, cut by the capture: %d, malformed: %d, not fastrpc: %d\n", n.wrong, n.cut, n.malformed, n.others)
	if n.unread > 0 {
		fmt.Fprintf(w, "%d packets of link type %d were not read; capture on an Ethernet interface or on 'any'\n", n.unread, n.unreadLink)
	}
	switch {
	case packets != "" || n.others == 0:
	case port != 0:
		fmt.Fprintf(w, "nothing on UDP port %d is fastrpc version %d; without --port all ports are searched\n", port, wire.Version)
	default:
		fmt.Fprintln(w, "nothing is known for fastrpc; --port shows what a port has, though all of it be damaged or cut")
	}
}

// list names the counts that are not 0.
func list(counts []int, name func(int) string) string {
	var out []string
	for i, n := range counts {
		if n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, name(i)))
		}
	}
	return strings.Join(out, ", ")
}
