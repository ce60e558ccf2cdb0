package rdma

// Burst is how many work requests or completions one call into C carries at most; longer slices take several.
const Burst = 64

// MaxSGE is how many pieces of memory a work request may have.
const MaxSGE = 2

// Opcode says what a SendWR does.
type Opcode uint32

// Opcodes, with libibverbs' numbers (enum ibv_wr_opcode).
const (
	OpWrite          Opcode = 0 // one-sided: the remote side is not told
	OpWriteImm       Opcode = 1 // as OpWrite, and takes a receive of the remote side, which gets Imm
	OpSend           Opcode = 2
	OpSendImm        Opcode = 3
	OpRead           Opcode = 4
	OpCompareAndSwap Opcode = 5
	OpFetchAdd       Opcode = 6
)

// SendFlags change how a SendWR is carried out (enum ibv_send_flags).
type SendFlags uint32

// The flags.
const (
	Fence     SendFlags = 1 << 0 // begins after the reads before it have ended
	Signaled  SendFlags = 1 << 1 // makes a completion; without it only a failure does, and the next one that is signaled tells of it
	Solicited SendFlags = 1 << 2 // wakes a remote side that waits for solicited events only
	Inline    SendFlags = 1 << 3 // the payload is copied at once: its memory need not be registered nor mapped, and is the caller's again
)

// SGE is a piece of registered memory. It has the form of struct ibv_sge.
type SGE struct {
	Addr   uint64
	Length uint32
	Key    uint32 // MR.LKey
}

// SendWR is a send work request; verbs.h has the same form for C.
type SendWR struct {
	ID     uint64 // given back in the completion
	Op     Opcode
	Flags  SendFlags
	Imm    uint32 // of OpSendImm and OpWriteImm
	NumSGE uint32 // pieces of SGE in use
	SGE    [MaxSGE]SGE

	// One-sided operations: memory of the remote side. Atomics work on 8 bytes, aligned to 8: their former value is written to SGE[0].
	RemoteAddr uint64
	CompareAdd uint64 // OpCompareAndSwap: what to compare with; OpFetchAdd: what to add
	Swap       uint64
	RemoteKey  uint32 // the remote MR.RKey

	// Unreliable datagrams: where to.
	RemoteQPN uint32
	QKey      uint32
	_         uint32
	AH        Handle
}

// RecvWR is memory for one message. A datagram's begins with GRHBytes of the network's header.
type RecvWR struct {
	ID     uint64
	NumSGE uint32
	_      uint32
	SGE    [MaxSGE]SGE
}

// GRHBytes is what stands before the payload of a received datagram: the global route header. With RoCE over IPv4 its last 20 bytes are the
// IPv4 header.
const GRHBytes = 40

// UDPQKey is the key of datagram queue pairs that the connection manager tells of (RDMA_UDP_QKEY, which the kernel has as well). A datagram
// without its receiver's key is dropped.
const UDPQKey = 0x01234567

// Handle stands for an address handle in work requests.
type Handle uintptr

// WC is a work completion.
type WC struct {
	ID     uint64
	Status Status
	Op     WCOpcode // undefined unless Status is StatusSuccess
	Flags  WCFlags
	Bytes  uint32 // received; of a datagram with the GRH
	Imm    uint32 // with WithImm
	QPN    uint32 // the local queue pair
	Source uint32 // of a datagram: the remote queue pair
	Vendor uint32 // the card's own error code

	// Of a datagram over InfiniBand: the sender's LID, the service level, and the low bits of the LID that it was sent to. See Reply.
	LID      uint16
	SL       uint8
	PathBits uint8
	_        uint32
}

// WCOpcode says what a WC is about (enum ibv_wc_opcode).
type WCOpcode uint32

// Opcodes of completions.
const (
	WCSend           WCOpcode = 0
	WCWrite          WCOpcode = 1
	WCRead           WCOpcode = 2
	WCCompareAndSwap WCOpcode = 3
	WCFetchAdd       WCOpcode = 4
	WCBindMW         WCOpcode = 5
	WCLocalInv       WCOpcode = 6
	WCRecv           WCOpcode = 128
	WCRecvWriteImm   WCOpcode = 129
)

// WCFlags are what else a WC says (enum ibv_wc_flags).
type WCFlags uint32

// Flags of completions.
const (
	WithGRH WCFlags = 1 << 0
	WithImm WCFlags = 1 << 1
)

// Access says what may be done to a memory region (enum ibv_access_flags). Reading by this side needs no right.
type Access int

// The rights.
const (
	LocalWrite   Access = 1 << 0 // receives, and results of reads and atomics
	RemoteWrite  Access = 1 << 1 // needs LocalWrite, too
	RemoteRead   Access = 1 << 2
	RemoteAtomic Access = 1 << 3 // needs LocalWrite, too
	WindowBind   Access = 1 << 4 // windows may be bound to it: see MW
	OnDemand     Access = 1 << 6 // pages are not pinned but fetched when the card asks for them; see Limits
)
