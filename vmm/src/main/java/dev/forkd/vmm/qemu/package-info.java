/** The driver for stock QEMU, 7.2 and newer, with KVM or its own emulation. */
@NullMarked
package dev.forkd.vmm.qemu;

import org.jspecify.annotations.NullMarked;
