/** Makes what a guest boots from: kernel, initramfs, agent, root image. */
@NullMarked
package dev.forkd.template;

import org.jspecify.annotations.NullMarked;
