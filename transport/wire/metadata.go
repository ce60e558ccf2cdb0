package wire

import "encoding/binary"

// MetadataBytes is the length of the metadata, behind it at the very end of a message with FlagMetadata. It stands last so that a message
// that was built in place need not move when metadata is added.
const MetadataBytes = 4

// AppendMetadata appends a metadata block, and its length, to a message.
func AppendMetadata(message, block []byte) []byte {
	return binary.LittleEndian.AppendUint32(append(message, block...), uint32(len(block)))
}

// CutMetadata takes the metadata off a message with FlagMetadata; false, and all of it as body, where its end contradicts its length.
func CutMetadata(message []byte) (body, block []byte, ok bool) {
	end := len(message) - MetadataBytes
	if end < 0 {
		return message, nil, false
	}
	n := binary.LittleEndian.Uint32(message[end:])
	if uint64(n) > uint64(end) {
		return message, nil, false
	}
	at := end - int(n)
	return message[:at:at], message[at:end:end], true
}
