package rdma

import "fmt"

// Status is how a work request ended (enum ibv_wc_status).
type Status uint32

// StatusSuccess and the statuses that callers tell apart.
const (
	StatusSuccess          Status = 0
	StatusLocalLength      Status = 1
	StatusLocalOperation   Status = 2
	StatusLocalProtection  Status = 4
	StatusFlushed          Status = 5 // the queue pair had failed, or was closed, before this request's turn
	StatusRemoteInvalid    Status = 9
	StatusRemoteAccess     Status = 10
	StatusRemoteOperation  Status = 11
	StatusRetryExceeded    Status = 12
	StatusRNRRetryExceeded Status = 13
)

// statuses are their names in the InfiniBand specification's terms, and what a user can do about each.
var statuses = [...]struct{ name, advice string }{
	0:  {"success", ""},
	1:  {"local length error", "the message is longer than the receive that it met, or than the port's MTU for a datagram"},
	2:  {"local QP operation error", "the work request does not fit the queue pair's type or limits, or the receive is shorter than its message"},
	3:  {"local EE context operation error", ""},
	4:  {"local protection error", "the memory of the work request is not registered for it: see PD.Register"},
	5:  {"flushed", "the queue pair stopped before: see the first completion that failed; if that says no more, its port went down or its device away"},
	6:  {"memory window bind error", ""},
	7:  {"bad response", ""},
	8:  {"local access error", "the memory region does not allow local writes"},
	9:  {"remote invalid request", "the operation is not allowed by the remote queue pair, or its message is longer than the remote receive"},
	10: {"remote access error", "the remote key is revoked or of another region, or the range lies outside of the region or its rights"},
	11: {"remote operation error", "the remote side could not take it: see its own completion; its receive may be too short"},
	12: {"transport retry counter exceeded", "the remote side does not answer: is it gone, its port down, or the path's MTU too large?"},
	13: {"RNR retry counter exceeded", "the remote side posted no receive in time"},
	14: {"local RDD violation", ""},
	15: {"remote invalid RD request", ""},
	16: {"remote aborted", ""},
	17: {"invalid EE context number", ""},
	18: {"invalid EE context state", ""},
	19: {"fatal error", "the device failed: see the kernel's log"},
	20: {"response timeout", ""},
	21: {"general error", ""},
	22: {"tag matching error", ""},
	23: {"tag matching rendezvous incomplete", ""},
}

func (s Status) String() string {
	if int(s) < len(statuses) {
		return statuses[s].name
	}
	return fmt.Sprintf("work completion status %d", uint32(s))
}

// CompletionError is a work request that did not succeed.
type CompletionError struct {
	Status Status
	Vendor uint32 // the card's own code
	ID     uint64 // of the request
	QPN    uint32
}

func (e *CompletionError) Error() string {
	text := fmt.Sprintf("rdma: queue pair %d: work request %#x: %s", e.QPN, e.ID, e.Status.String())
	if e.Vendor != 0 {
		text += fmt.Sprintf(" (vendor error %#x)", e.Vendor)
	}
	if int(e.Status) < len(statuses) && statuses[e.Status].advice != "" {
		text += ": " + statuses[e.Status].advice
	}
	return text
}

// Is tells errors of one status from others: errors.Is(err, StatusRemoteAccess) holds for a CompletionError with that status.
func (e *CompletionError) Is(target error) bool {
	s, ok := target.(Status)
	return ok && s == e.Status
}

// Error makes a Status a target for errors.Is.
func (s Status) Error() string { return "rdma: " + s.String() }

// Err is nil when the work request succeeded, else a *CompletionError. The error is the only thing that it allocates.
func (w *WC) Err() error {
	if w.Status == StatusSuccess {
		return nil
	}
	return &CompletionError{Status: w.Status, Vendor: w.Vendor, ID: w.ID, QPN: w.QPN}
}
