# SPDX-License-Identifier: Apache-2.0
"""How inexact Winograd F(4x4,3x3) is with bf16 and int16 products beside a direct bf16 convolution, on
random maps and filters. Needs numpy:  python3 bench/results/winograd_precision.py
"""
import numpy as np
rng=np.random.default_rng(0)
BT=np.array([[4,0,-5,0,1,0],[0,-4,-4,1,1,0],[0,4,-4,-1,1,0],[0,-2,-1,2,1,0],[0,2,-1,-2,1,0],[0,4,0,-5,0,1]],float)
G=np.array([[.25,0,0],[-1/6]*3,[-1/6,1/6,-1/6],[1/24,1/12,1/6],[1/24,-1/12,1/6],[0,0,1]])
AT=np.array([[1,1,1,1,1,0],[0,1,-1,2,-2,0],[0,1,1,4,4,0],[0,1,-1,8,-8,1]],float)
def bf(x):
    u=np.asarray(x,np.float32).view(np.uint32); r=(u+0x7fff+((u>>16)&1))&0xffff0000
    return r.astype(np.uint32).view(np.float32).astype(float)
L1=np.abs(BT).sum(1); gain=np.outer(L1,L1)
for C in (32,64,128):
  for kind in ('relu','gauss','lognormal','spiky'):
    T=64
    d=rng.standard_normal((T,C,6,6))
    if kind=='relu': d=np.maximum(d,0)+.3*rng.standard_normal((T,C,6,6))
    if kind=='lognormal': d=np.exp(1.0*d)
    if kind=='spiky': d=d*(1+20*(rng.random((1,C,1,1))<.05))
    d=bf(d); w=rng.standard_normal((C,C,3,3))/np.sqrt(9*C)
    def direct(d,w):
        y=np.zeros((T,C,4,4))
        for a in range(3):
            for b in range(3): y+=np.einsum('tcij,oc->toij',d[:,:,a:a+4,b:b+4],w[:,:,a,b])
        return y
    y=direct(d,w); sd=np.abs(y).max(); rm=y.std()
    out=[f"C{C} {kind:9s} store {np.sqrt(((bf(y)-y)**2).mean())/rm:.1e}"]
    e=direct(d,bf(w))-y; out.append(f"bf16 direct rms {np.sqrt((e**2).mean())/rm:.1e} max {np.abs(e).max()/sd:.1e}")
    V=np.einsum('ai,tcij,bj->tcab',BT,d,BT); U=np.einsum('ai,ocij,bj->ocab',G,w,G)
    def fin(M): return np.einsum('ai,toij,bj->toab',AT,M,AT)
    e=fin(np.einsum('tcab,ocab->toab',bf(V),bf(U)))-y; out.append(f"bf16 F4 rms {np.sqrt((e**2).mean())/rm:.1e} max {np.abs(e).max()/sd:.1e}")
    for vmax in (2**13,2**14,2**15-1):
        mx=np.abs(d).max((1,2,3),keepdims=True)
        s=vmax/(100*mx); Vi=np.rint(V*s)
        l1=np.abs(U).sum(1,keepdims=True)
        su=np.minimum((2.0**31-1)*0.99/vmax/l1, 32767/np.abs(U).max(1,keepdims=True)); Ui=np.rint(U*su)
        acc=np.einsum('tcab,ocab->toab',Vi,Ui); assert np.abs(acc).max()<2**31
        e=fin(acc/su[None,:,0])/s-y
        out.append(f"i16 v{np.log2(vmax):.0f} rms {np.sqrt((e**2).mean())/rm:.1e} max {np.abs(e).max()/sd:.1e}")
    print(' | '.join(out))
