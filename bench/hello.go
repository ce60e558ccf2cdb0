package bench

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bench/machine"
	"github.com/fastrpc/fastrpc/bench/result"
)

// An agent and its driver, the machine of the client, talk in lines of JSON over TCP:
//
//	agent  → greeting      version, nonce
//	driver → introduction  version, nonce, proof, where the client stands
//	agent  → welcome       proof, machine, where the server stands, what it can run; or why not
//	driver → {"agent":"spawn"}, the child's orders, {"agent":"end"}, ...; each is answered, but for an order that "end" overtakes
//
// Both prove that they know the token, without saying it: a keyed hash (RFC 2104) of both nonces. What follows is neither secret nor protected
// against somebody in between. An agent runs nothing but its own program and that of the peers beside it.

// agentProtocol is the version of these messages. Children's orders are no protocol: both sides must be of the same revision.
const agentProtocol = 1

func agentVersion() string {
	return fmt.Sprintf("protocol %d, report %d, revision %s", agentProtocol, result.Schema, machine.Revision())
}

type greeting struct {
	Version string `json:"fastrpc_bench_agent"`
	Nonce   string `json:"nonce"`
}

type introduction struct {
	Version string     `json:"fastrpc_bench_driver"`
	Nonce   string     `json:"nonce"`
	Proof   string     `json:"proof"`
	Boot    string     `json:"boot"`   // tells the driver's machine from all others, until it is started again
	Client  netip.Addr `json:"client"` // where packets come from
}

type welcome struct {
	Error    string            `json:"error,omitempty"`
	Busy     bool              `json:"busy,omitempty"` // the reason passes
	Proof    string            `json:"proof"`
	Machine  result.Machine    `json:"machine"`
	Endpoint Endpoint          `json:"endpoint"`
	CPU      int               `json:"cpu"` // the server's, unless the driver names another one; -1: not pinned
	NoBypass string            `json:"no_bypass,omitempty"`
	Systems  []string          `json:"systems"`
	Missing  map[string]string `json:"missing,omitempty"`
}

// agentOrder is an order to the agent itself; one without Agent is its child's.
type agentOrder struct {
	Agent  string `json:"agent"` // spawnChild or endChild
	System string `json:"system,omitempty"`
	CPU    int    `json:"cpu"` // -1: the agent chooses
}

const (
	spawnChild = "spawn"
	endChild   = "end"
)

type agentAnswer struct {
	Error string `json:"error,omitempty"`
	Ended bool   `json:"ended,omitempty"` // answers endChild
}

// checkVersion compares what the other side is with this one.
func checkVersion(other string) error {
	if own := agentVersion(); other != own {
		return fmt.Errorf("it is of another build: here %s, there %.100q; use the same program on both machines", own, other)
	}
	return nil
}

func newNonce() string { return rand.Text() }

// prove gives a side's proof that it knows the token.
func prove(side, token, agentNonce, driverNonce string) string {
	h := hmac.New(sha256.New, []byte(token))
	fmt.Fprintf(h, "fastrpc bench %s\n%s\n%s\n", side, agentNonce, driverNonce)
	return hex.EncodeToString(h.Sum(nil))
}

func proves(proof, side, token, agentNonce, driverNonce string) bool {
	return hmac.Equal([]byte(proof), []byte(prove(side, token, agentNonce, driverNonce)))
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // always there
	return strings.TrimSpace(string(b))
}

// silenceLimit is how long a machine may be silent before it counts as gone. A flood can keep it from being heard for a while.
const silenceLimit = 20 * time.Second

// watch has the kernel end a connection whose other machine is silent: by keep-alives, and by data that is not acknowledged (tcp(7)).
func watch(conn *net.TCPConn) error {
	err := conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: silenceLimit / 4, Interval: silenceLimit / 4, Count: 3})
	if err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silenceLimit.Milliseconds()))
	}); err != nil {
		return err
	}
	return setErr
}
