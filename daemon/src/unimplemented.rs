//! The RPCs that are not built yet: the one list of them.

/// Calls the macro `$then` with the list. To build an RPC, take its line out: the compiler then asks for the method.
macro_rules! unimplemented_rpcs {
    ($then:ident) => {
        $then! {
            unary CheckpointContainer checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
            unary CheckpointPod checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse;
            unary RestorePod restore_pod(RestorePodRequest) -> RestorePodResponse;
        }
    };
}

/// The RPCs' names.
#[cfg(test)]
macro_rules! names {
    ($(unary $rpc:ident $method:ident($request:ident) -> $response:ident;)*) => {
        &[$(stringify!($rpc)),*]
    };
}

/// The methods of `RuntimeService`, each answering `UNIMPLEMENTED`. Written as `async_trait` writes them, which does
/// not see through a macro.
macro_rules! refusing_methods {
    () => {};
    (unary $rpc:ident $method:ident($request:ident) -> $response:ident; $($rest:tt)*) => {
        crate::unimplemented::refusing_method!($rpc $method $request v1::$response);
        crate::unimplemented::refusing_methods! { $($rest)* }
    };
}

macro_rules! refusing_method {
    ($rpc:ident $method:ident $request:ident $response:ty) => {
        fn $method<'s, 'f>(
            &'s self,
            _: Request<v1::$request>,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(std::future::ready(Err(status::not_built(stringify!($rpc)))))
        }
    };
}

pub(crate) use {refusing_method, refusing_methods, unimplemented_rpcs};

/// Their names, for the tests and for whoever asks.
#[cfg(test)]
pub(crate) const UNIMPLEMENTED: &[&str] = unimplemented_rpcs!(names);
