//go:build !linux

package main

import "time"

func startNapping() {}

func nap(d time.Duration) { time.Sleep(d) }
