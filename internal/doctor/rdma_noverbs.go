//go:build !rdma

package doctor

const rdmaBuilt = false

func askVerbs(string, int) answer[verbs] { return answer[verbs]{err: errNotBuilt} }
