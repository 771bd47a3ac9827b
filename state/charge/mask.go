package charge

// numberDigitsMin is how long a run of digits is taken for somebody's number.
const numberDigitsMin = msisdnDigitsMin

// Mask hides whatever may be an MSISDN in a text that goes into a log: of each
// run of six digits or more all but the first three and the last two.
func Mask(text string) string {
	const head, tail = 3, 2
	out := []byte(text)
	for i := 0; i < len(out); {
		end := digitsEnd(text, i)
		if end-i >= numberDigitsMin {
			for j := i + head; j < end-tail; j++ {
				out[j] = '*'
			}
		}
		i = end + 1
	}
	return string(out)
}

// HoldsNumber reports whether a text holds what may be an MSISDN.
func HoldsNumber(text string) bool {
	for i := 0; i < len(text); {
		end := digitsEnd(text, i)
		if end-i >= numberDigitsMin {
			return true
		}
		i = end + 1
	}
	return false
}

// digitsEnd returns where the run of digits ends that may begin at i.
func digitsEnd(text string, i int) int {
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	return i
}
