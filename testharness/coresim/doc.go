// Package coresim will be the simulated issuance core.
package coresim
