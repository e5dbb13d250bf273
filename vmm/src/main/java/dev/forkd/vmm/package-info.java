/** The VMM port: what forkd asks of a virtual machine monitor, whichever it is. */
@NullMarked
package dev.forkd.vmm;

import org.jspecify.annotations.NullMarked;
