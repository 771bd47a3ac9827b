package charge

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// A compressed text is its length as a uvarint and a Zstandard frame with a
// checksum. The length bounds what is decoded before anything is.
//
// Equal texts have equal bytes in one version of the program. Another version
// may compress otherwise: whoever compares, compares texts.

// AppendCompressed appends a text, compressed, to dst.
func AppendCompressed(dst, text []byte) []byte {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true))
	if err != nil {
		panic("charge: constant options of the encoder were refused: " + err.Error())
	}
	return encoder.EncodeAll(text, binary.AppendUvarint(dst, uint64(len(text))))
}

// Decompress returns the text that AppendCompressed was given, if it has at most
// textMax bytes. Whatever data is, no more memory than that is set aside for
// the text.
func Decompress(data []byte, textMax int) ([]byte, error) {
	length, n := binary.Uvarint(data)
	if n <= 0 || n == len(data) {
		return nil, errors.New("decompress a text: it is cut off")
	}
	if length > uint64(max(textMax, 0)) {
		return nil, fmt.Errorf("decompress a text: it has %d bytes, at most %d are allowed", length, textMax)
	}
	decoder, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(max(length, zstd.MinWindowSize)),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("decompress a text of %d bytes: %w", length, err)
	}
	defer decoder.Close()
	text, err := decoder.DecodeAll(data[n:], make([]byte, 0, length))
	if err != nil {
		return nil, fmt.Errorf("decompress a text of %d bytes: %w", length, err)
	}
	if uint64(len(text)) != length {
		return nil, fmt.Errorf("decompress a text of %d bytes: there are %d", length, len(text))
	}
	return text, nil
}
