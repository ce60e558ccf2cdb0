package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func init() { Register(netUDP{}) }

// netUDP is the kernel's UDP path as Go programs write it: net.UDPConn, a datagram for each message. Nothing is sent again: what is lost is
// lost, and fails the run. Several calls at once are told apart by four bytes in front of the message.
type netUDP struct{}

func (netUDP) Name() string { return "net-udp" }
func (netUDP) Bypass() bool { return false }
func (netUDP) Has(w string) bool {
	return w == Latency || w == Rate || w == Open || w == Sweep || w == Sessions || w == Idle || w == Churn
}

// Room for as many short datagrams as may be outstanding; as much as udp:// asks for.
const udpBuffer = 4 << 20

// Serve sends every datagram back as it is.
func (netUDP) Serve(ctx context.Context, e Endpoint, ready func(Ready)) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(e.Local))
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	growBuffer(c)
	addr := c.LocalAddr().(*net.UDPAddr).AddrPort()
	ready(Ready{Addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())})
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err == nil {
			_, err = c.WriteToUDPAddrPort(buf[:n], from)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // a client that has left
			return err
		}
	}
}

// growBuffer asks for more than net.core.rmem_max, for which it takes CAP_NET_ADMIN, or for as much as that.
func growBuffer(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, udpBuffer)
		}
	})
}

func (netUDP) Connect(ctx context.Context, e Endpoint) (Caller, error) {
	if e.Outstanding > 1 && !e.Piped() {
		return connectPool(ctx, netUDP{}, e)
	}
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Local.Addr(), 0))}
	conn, err := d.DialContext(ctx, "udp", e.Remote.String())
	if err != nil {
		return nil, err
	}
	growBuffer(conn.(*net.UDPConn))
	c := udpCaller{conn: conn, buf: make([]byte, slotBytes+e.Size+1)} // a byte more, so that a longer answer shows
	if !e.Piped() {
		return &c, nil
	}
	return &udpPipeline{udpCaller: c, payloads: make([][]byte, e.Slots())}, nil
}

type udpCaller struct {
	conn    net.Conn
	buf     []byte
	bounded time.Time // when the deadline was set
}

func (c *udpCaller) Call(payload []byte) error {
	if err := c.write(payload); err != nil {
		return err
	}
	n, err := c.read()
	if err != nil {
		return err
	}
	return verify(c.buf[:n], payload)
}

// write bounds the calls that follow, too, as netCaller does.
func (c *udpCaller) write(b []byte) error {
	if now := time.Now(); now.Sub(c.bounded) >= callLimit {
		if err := c.conn.SetDeadline(now.Add(2 * callLimit)); err != nil {
			return err
		}
		c.bounded = now
	}
	_, err := c.conn.Write(b)
	return err
}

func (c *udpCaller) read() (int, error) {
	n, err := c.conn.Read(c.buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: a datagram was lost, and net-udp sends nothing again", errNoEcho)
	}
	return n, err
}

func (c *udpCaller) Close() error { return c.conn.Close() }

// udpPipeline has many datagrams outstanding, each with its slot in front.
type udpPipeline struct {
	udpCaller
	payloads [][]byte // by slot
}

const slotBytes = 4

func (c *udpPipeline) Begin(slot int, payload []byte) error {
	c.payloads[slot] = payload
	return c.write(append(binary.LittleEndian.AppendUint32(c.buf[:0], uint32(slot)), payload...))
}

func (c *udpPipeline) Wait(ended []int) (int, error) {
	n, err := c.read()
	if err != nil {
		return 0, err
	}
	slot := -1
	if n >= slotBytes {
		slot = int(binary.LittleEndian.Uint32(c.buf))
	}
	if slot < 0 || slot >= len(c.payloads) || c.payloads[slot] == nil {
		return 0, fmt.Errorf("%w: %d bytes %.16x... of no call", ErrEcho, n, c.buf[:n])
	}
	if err := verify(c.buf[slotBytes:n], c.payloads[slot]); err != nil {
		return 0, err
	}
	c.payloads[slot] = nil // an answer that comes twice is nobody's
	ended[0] = slot
	return 1, nil
}
