//go:build rdma

package rdma

/*
#include "verbs.h"
*/
import "C"

import "unsafe"

// Here the compiler compares what Go and C each say of the same thing: an index that is not 0 does not compile.
var zero = [1]struct{}{}

// The structures that a burst hands over, field by field.
var (
	goSend SendWR
	cSend  C.struct_fr_send
	goRecv RecvWR
	cRecv  C.struct_fr_recv
	goWC   WC
	cWC    C.struct_fr_wc
	goSGE  SGE
	cSGE   C.struct_ibv_sge

	_ = zero[unsafe.Sizeof(goSend)-unsafe.Sizeof(cSend)]
	_ = zero[unsafe.Offsetof(goSend.ID)-unsafe.Offsetof(cSend.id)]
	_ = zero[unsafe.Offsetof(goSend.Op)-unsafe.Offsetof(cSend.op)]
	_ = zero[unsafe.Offsetof(goSend.Flags)-unsafe.Offsetof(cSend.flags)]
	_ = zero[unsafe.Offsetof(goSend.Imm)-unsafe.Offsetof(cSend.imm)]
	_ = zero[unsafe.Offsetof(goSend.NumSGE)-unsafe.Offsetof(cSend.num_sge)]
	_ = zero[unsafe.Offsetof(goSend.SGE)-unsafe.Offsetof(cSend.sge)]
	_ = zero[unsafe.Sizeof(goSend.SGE)-unsafe.Sizeof(cSend.sge)]
	_ = zero[unsafe.Offsetof(goSend.RemoteAddr)-unsafe.Offsetof(cSend.remote_addr)]
	_ = zero[unsafe.Offsetof(goSend.CompareAdd)-unsafe.Offsetof(cSend.compare_add)]
	_ = zero[unsafe.Offsetof(goSend.Swap)-unsafe.Offsetof(cSend.swap)]
	_ = zero[unsafe.Offsetof(goSend.RemoteKey)-unsafe.Offsetof(cSend.rkey)]
	_ = zero[unsafe.Offsetof(goSend.RemoteQPN)-unsafe.Offsetof(cSend.remote_qpn)]
	_ = zero[unsafe.Offsetof(goSend.QKey)-unsafe.Offsetof(cSend.qkey)]
	_ = zero[unsafe.Offsetof(goSend.AH)-unsafe.Offsetof(cSend.ah)]

	_ = zero[unsafe.Sizeof(goRecv)-unsafe.Sizeof(cRecv)]
	_ = zero[unsafe.Offsetof(goRecv.ID)-unsafe.Offsetof(cRecv.id)]
	_ = zero[unsafe.Offsetof(goRecv.NumSGE)-unsafe.Offsetof(cRecv.num_sge)]
	_ = zero[unsafe.Offsetof(goRecv.SGE)-unsafe.Offsetof(cRecv.sge)]
	_ = zero[unsafe.Sizeof(goRecv.SGE)-unsafe.Sizeof(cRecv.sge)]

	_ = zero[unsafe.Sizeof(goWC)-unsafe.Sizeof(cWC)]
	_ = zero[unsafe.Offsetof(goWC.ID)-unsafe.Offsetof(cWC.id)]
	_ = zero[unsafe.Offsetof(goWC.Status)-unsafe.Offsetof(cWC.status)]
	_ = zero[unsafe.Offsetof(goWC.Op)-unsafe.Offsetof(cWC.op)]
	_ = zero[unsafe.Offsetof(goWC.Flags)-unsafe.Offsetof(cWC.flags)]
	_ = zero[unsafe.Offsetof(goWC.Bytes)-unsafe.Offsetof(cWC.bytes)]
	_ = zero[unsafe.Offsetof(goWC.Imm)-unsafe.Offsetof(cWC.imm)]
	_ = zero[unsafe.Offsetof(goWC.QPN)-unsafe.Offsetof(cWC.qpn)]
	_ = zero[unsafe.Offsetof(goWC.Source)-unsafe.Offsetof(cWC.source)]
	_ = zero[unsafe.Offsetof(goWC.Vendor)-unsafe.Offsetof(cWC.vendor)]
	_ = zero[unsafe.Offsetof(goWC.LID)-unsafe.Offsetof(cWC.lid)]
	_ = zero[unsafe.Offsetof(goWC.SL)-unsafe.Offsetof(cWC.sl)]
	_ = zero[unsafe.Offsetof(goWC.PathBits)-unsafe.Offsetof(cWC.path_bits)]

	_ = zero[unsafe.Sizeof(goSGE)-unsafe.Sizeof(cSGE)]
	_ = zero[unsafe.Offsetof(goSGE.Addr)-unsafe.Offsetof(cSGE.addr)]
	_ = zero[unsafe.Offsetof(goSGE.Length)-unsafe.Offsetof(cSGE.length)]
	_ = zero[unsafe.Offsetof(goSGE.Key)-unsafe.Offsetof(cSGE.lkey)]
)

// The numbers.
var (
	_ = zero[Burst-C.FR_BURST]
	_ = zero[MaxSGE-C.FR_SGE]

	_ = zero[RC-C.IBV_QPT_RC]
	_ = zero[UD-C.IBV_QPT_UD]

	_ = zero[OpWrite-C.IBV_WR_RDMA_WRITE]
	_ = zero[OpWriteImm-C.IBV_WR_RDMA_WRITE_WITH_IMM]
	_ = zero[OpSend-C.IBV_WR_SEND]
	_ = zero[OpSendImm-C.IBV_WR_SEND_WITH_IMM]
	_ = zero[OpRead-C.IBV_WR_RDMA_READ]
	_ = zero[OpCompareAndSwap-C.IBV_WR_ATOMIC_CMP_AND_SWP]
	_ = zero[OpFetchAdd-C.IBV_WR_ATOMIC_FETCH_AND_ADD]

	_ = zero[Fence-C.IBV_SEND_FENCE]
	_ = zero[Signaled-C.IBV_SEND_SIGNALED]
	_ = zero[Solicited-C.IBV_SEND_SOLICITED]
	_ = zero[Inline-C.IBV_SEND_INLINE]

	_ = zero[LocalWrite-C.IBV_ACCESS_LOCAL_WRITE]
	_ = zero[RemoteWrite-C.IBV_ACCESS_REMOTE_WRITE]
	_ = zero[RemoteRead-C.IBV_ACCESS_REMOTE_READ]
	_ = zero[RemoteAtomic-C.IBV_ACCESS_REMOTE_ATOMIC]
	_ = zero[WindowBind-C.IBV_ACCESS_MW_BIND]
	_ = zero[OnDemand-C.IBV_ACCESS_ON_DEMAND]

	_ = zero[WCSend-C.IBV_WC_SEND]
	_ = zero[WCWrite-C.IBV_WC_RDMA_WRITE]
	_ = zero[WCRead-C.IBV_WC_RDMA_READ]
	_ = zero[WCCompareAndSwap-C.IBV_WC_COMP_SWAP]
	_ = zero[WCFetchAdd-C.IBV_WC_FETCH_ADD]
	_ = zero[WCBindMW-C.IBV_WC_BIND_MW]
	_ = zero[WCLocalInv-C.IBV_WC_LOCAL_INV]
	_ = zero[WCRecv-C.IBV_WC_RECV]
	_ = zero[WCRecvWriteImm-C.IBV_WC_RECV_RDMA_WITH_IMM]
	_ = zero[WithGRH-C.IBV_WC_GRH]
	_ = zero[WithImm-C.IBV_WC_WITH_IMM]
	_ = zero[GRHBytes-unsafe.Sizeof(C.struct_ibv_grh{})]

	_ = zero[StatusSuccess-C.IBV_WC_SUCCESS]
	_ = zero[StatusLocalLength-C.IBV_WC_LOC_LEN_ERR]
	_ = zero[StatusLocalOperation-C.IBV_WC_LOC_QP_OP_ERR]
	_ = zero[StatusLocalProtection-C.IBV_WC_LOC_PROT_ERR]
	_ = zero[StatusFlushed-C.IBV_WC_WR_FLUSH_ERR]
	_ = zero[StatusRemoteInvalid-C.IBV_WC_REM_INV_REQ_ERR]
	_ = zero[StatusRemoteAccess-C.IBV_WC_REM_ACCESS_ERR]
	_ = zero[StatusRemoteOperation-C.IBV_WC_REM_OP_ERR]
	_ = zero[StatusRetryExceeded-C.IBV_WC_RETRY_EXC_ERR]
	_ = zero[StatusRNRRetryExceeded-C.IBV_WC_RNR_RETRY_EXC_ERR]
	_ = zero[len(statuses)-1-C.IBV_WC_TM_RNDV_INCOMPLETE]

	_ = zero[GIDInfiniBand-C.IBV_GID_TYPE_IB]
	_ = zero[GIDRoCE1-C.IBV_GID_TYPE_ROCE_V1]
	_ = zero[GIDRoCE2-C.IBV_GID_TYPE_ROCE_V2]

	_ = zero[EventCQError-C.IBV_EVENT_CQ_ERR]
	_ = zero[EventQPFatal-C.IBV_EVENT_QP_FATAL]
	_ = zero[EventQPRequest-C.IBV_EVENT_QP_REQ_ERR]
	_ = zero[EventQPAccess-C.IBV_EVENT_QP_ACCESS_ERR]
	_ = zero[EventDeviceFatal-C.IBV_EVENT_DEVICE_FATAL]
	_ = zero[EventPortActive-C.IBV_EVENT_PORT_ACTIVE]
	_ = zero[EventPortError-C.IBV_EVENT_PORT_ERR]
	_ = zero[EventSRQError-C.IBV_EVENT_SRQ_ERR]
	_ = zero[EventSRQLimit-C.IBV_EVENT_SRQ_LIMIT_REACHED]
	_ = zero[EventLastWQEReached-C.IBV_EVENT_QP_LAST_WQE_REACHED]
	_ = zero[EventGIDChange-C.IBV_EVENT_GID_CHANGE]
)
